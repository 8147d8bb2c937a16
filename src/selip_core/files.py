"""Files and folders that are written whole or not at all."""

import os
import shutil
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
    temporary = _partial(target)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new folder beside ``path``; filled by the block, it becomes ``path``.

    Its files reach the disk before it takes the target's name. If the block raises, Ctrl-C
    included, it is removed. Folders above ``path`` are made.

    Raises:
        OSError: If ``path`` is there already, and not an empty folder.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "model"
        >>> with atomic_folder(target) as temporary:
        ...     _ = (temporary / "config.json").write_text("{}")
        >>> [file.name for file in target.iterdir()], len(list(target.parent.iterdir()))
        (['config.json'], 1)
    """
    target = Path(path)
    temporary = _partial(target)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _flush(Path(folder, name))
            _flush_folder(Path(folder))
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _flush_folder(target.parent)


def _partial(target: Path) -> Path:
    return target.with_name(f".partial-{uuid.uuid4().hex[:12]}-{target.name}")


def _flush_folder(path: Path) -> None:
    if os.name == "posix":  # new names must survive a power cut too; Windows opens no folders
        _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
