"""SHA-256 digests of files, and of JSON objects that hold their own digest."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "content_sha256"
"""Key of an object's own digest."""


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        OSError: If the file cannot be read.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "empty"
        >>> file.touch()
        >>> file_digest(file)[:8]
        'e3b0c442'
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_digest(path: Path, digest: object, source: str, remedy: str) -> None:
    """Refuse a file whose content is not the one that was written.

    Args:
        path: The file.
        digest: The SHA-256 that it must have.
        source: Where that is kept, for the message, such as ``"config.json"``.
        remedy: What to do, for the message.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it has another digest.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {remedy}")
    own = file_digest(path)
    if own != digest:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is {own}, and {source} says {digest}; {remedy}"
        )


def json_digest(content: Any) -> str:
    """Return the SHA-256 of a JSON value; it does not depend on key order, spaces or escapes.

    Example:
        >>> json_digest({"a": 1, "b": (2, 3)}) == json_digest({"b": [2, 3], "a": 1})
        True
    """
    as_read = json.loads(json.dumps(content))  # keys are strings, and tuples lists
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the digest of everything else in it, under :data:`SEAL`.

    Example:
        >>> sealed({"width": 0.25})["content_sha256"][:8]
        '5a237ee1'
    """
    bare = {key: value for key, value in content.items() if key != SEAL}
    return {**bare, SEAL: json_digest(bare)}


def require_sealed(content: Mapping[str, Any], path: Path, remedy: str) -> None:
    """Refuse an object that is not as it was written.

    Args:
        content: What the file holds.
        path: The file, for the message.
        remedy: What to do, for the message.

    Raises:
        ValueError: If the digest is missing or is not that of the rest.
    """
    if content.get(SEAL) != sealed(content)[SEAL]:
        raise ValueError(
            f"{path} is damaged or was edited: its content is not that of its {SEAL!r}; {remedy}"
        )
