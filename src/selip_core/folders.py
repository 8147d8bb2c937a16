"""Output folders, checked before any work is done for them."""

import os
import tempfile
from pathlib import Path


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Make the folder if it is missing, and check that a file can be written into it.

    Raises:
        ValueError: If it cannot be made or written to.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> _ = file.write_text("mine")
        >>> require_writable(file / "run")
        Traceback (most recent call last):
        ...
        ValueError: cannot write to the folder .../notes.txt/run: Not a directory; choose another
        folder
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to the folder {os.fspath(folder)}: {error.strerror}; "
            "choose another folder"
        ) from error
