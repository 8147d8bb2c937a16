"""Files that are written whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what the block wrote there becomes ``path``.

    The temporary name ends as the target's does (``.nii.gz``, ``.safetensors``), since writers
    choose their format by it. The file reaches the disk before it takes the target's name. If the
    block raises, Ctrl-C included, the temporary file is removed and the target stays as it was.

    Raises:
        FileNotFoundError: If the folder is missing, or the block wrote nothing.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "result.json"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("{}")
        >>> target.read_text(), len(list(target.parent.iterdir()))
        ('{}', 1)
    """
    target = Path(path)
    temporary = target.with_name(f".partial-{uuid.uuid4().hex[:12]}-{target.name}")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name itself must survive a power cut; Windows opens no folders
        _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
