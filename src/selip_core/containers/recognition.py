"""Messages about files of another format or encoding than a command reads, with the conversion."""

import os
import string
from pathlib import Path

from selip_core.containers.encodings import encoding_of, wide_encoding_of
from selip_core.containers.layouts import document_layout_of, layout_of
from selip_core.containers.signatures import HEAD, Format, begins_as_nifti, format_of

JSON_LINES = "JSON Lines (one JSON object per line)"
"""Name of the format of manifests, reports and truths in messages."""


class WrongContainerError(ValueError):
    """A file of another format than the one read; the message begins with a verb, "is ..."."""


def read_container(path: str | os.PathLike[str], wanted: str) -> bytes:
    """Return the bytes of a text file, refused by its first bytes if it is another format.

    Args:
        path: The file.
        wanted: What is read, such as :data:`JSON_LINES` or ``"TOML"``.

    Raises:
        WrongContainerError: If it is a folder, a binary format, or text in UTF-16 or UTF-32.
        OSError: If it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "manifest.jsonl"
        >>> _ = path.write_bytes(b"%PDF-1.7")
        >>> read_container(path, "JSON Lines")
        Traceback (most recent call last):
        ...
        selip_core.containers.recognition.WrongContainerError: is a PDF document, not JSON Lines;
        export the data behind it as JSON Lines
    """
    path = Path(path)
    if path.is_dir():
        raise WrongContainerError(f"is a folder, not {wanted}; name a file")
    with path.open("rb") as file:
        head = file.read(HEAD)
        if head.startswith(b"PK"):  # the directory of a zip file is at its end
            head += file.read()
        size = os.fstat(file.fileno()).st_size
        message = _foreign_bytes(head, size, wanted)
        if message is not None:
            raise WrongContainerError(message)
        return head + file.read()


def foreign_text(data: bytes, wanted: str) -> str | None:
    r"""Return what a text is in place of the wanted format; None if only parts of it are wrong.

    Args:
        data: The whole file.
        wanted: What is read, such as :data:`JSON_LINES`.

    Example:
        >>> foreign_text(b"id;study\na;1\n", "JSON Lines")
        'is a table with semicolons (CSV), not JSON Lines; convert it: python -c ...'
    """
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        return "is empty"
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _foreign_encoding(data, wanted) if _is_mostly_not_utf8(data) else None
    known = layout_of(text)
    return None if known is None else _message(known, wanted)


def foreign_document(text: str, wanted: str) -> str | None:
    """Return what a text is in place of one document; None if only parts of it are wrong.

    Args:
        text: The whole file.
        wanted: ``"JSON"`` or ``"TOML"``.

    Example:
        >>> foreign_document("epochs: 2", "TOML")
        'is YAML, not TOML; convert it: python -c ...'
    """
    if not text.strip():
        return "is empty"
    known = document_layout_of(text)
    return None if known is None or known.name == wanted else _message(known, wanted)


def foreign_volume(head: bytes) -> str | None:
    """Return what a file is in place of a NIfTI volume; None if its first bytes are not known.

    Args:
        head: At least the first :data:`~selip_core.containers.HEAD` bytes, or all of a smaller
            file, unpacked.

    Example:
        >>> foreign_volume(b"NRRD0004")
        'is an NRRD volume, not NIfTI; convert it to NIfTI (.nii.gz), by SimpleITK for example'
        >>> foreign_volume(bytes(range(200, 256))) is None
        True
    """
    if begins_as_nifti(head):  # its magic is missing, or it would not be foreign
        return (
            "has a header of Analyze 7.5, which does not say where left is, or a damaged one of "
            "NIfTI; convert it again from its source"
        )
    if head.startswith(b"\x1f\x8b"):
        return "is compressed twice; unpack it once"
    if not any(head):
        return "begins with NUL bytes, as a crash or a full disk leaves them; copy it again"
    known = format_of(head)
    if known is None and _is_text(head):
        markup = layout_of(head.decode(errors="ignore")) if head.lstrip()[:1] == b"<" else None
        known = markup or Format("text", "")
    return None if known is None else f"is {known.name}, not NIfTI; {known.volume_advice}"


def encoding_advice(data: bytes) -> str:
    """Return what to do about bytes that are not UTF-8.

    Example:
        >>> encoding_advice("Läsion".encode("latin-1"))
        'it looks like WINDOWS-1252; convert it: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW'
    """
    name = encoding_of(data)
    if name is None:
        return "export the file again as UTF-8"
    return f"it looks like {name}; {_conversion(name)}"


def _foreign_bytes(head: bytes, size: int, wanted: str) -> str | None:
    known = format_of(head, size)
    if known is not None:
        return _message(known, wanted)
    wide = wide_encoding_of(head)
    if wide is not None:
        return _in_encoding(wide, head, wanted)
    if head and not head.strip(b"\0"):
        return "begins with NUL bytes, as a crash or a full disk leaves them; copy it again"
    return None


def _foreign_encoding(data: bytes, wanted: str) -> str:
    name = encoding_of(data)
    if name is None:
        return f"is not in UTF-8, and not {wanted}; export it again"
    return _in_encoding(name, data, wanted)


def _in_encoding(name: str, data: bytes, wanted: str) -> str:
    """Return the message about an encoding, and about a layout that is wrong as well."""
    text = data.decode(name, errors="replace")
    known = layout_of(text) if wanted == JSON_LINES else document_layout_of(text)
    message = f"is text in {name}, not in UTF-8; {_conversion(name)}"
    return (
        message
        if known is None or known.name == wanted
        else f"{message}; then it is {known.name}, not {wanted}"
    )


def _conversion(name: str) -> str:
    return f"convert it: iconv -f {name} -t UTF-8 OLD > NEW"


def _is_mostly_not_utf8(data: bytes) -> bool:
    """Whether two lines or more, and half of those beyond ASCII, are not UTF-8."""
    beyond = [line for line in data.split(b"\n") if not line.isascii()]
    wrong = sum(not _is_utf8(line) for line in beyond)
    return wrong > 1 and 2 * wrong >= len(beyond)


def _is_text(head: bytes) -> bool:
    """Whether the start of a file is printable text in UTF-8."""
    try:  # a character may be cut at the end
        text = head.decode("utf-8", "ignore" if len(head) >= HEAD else "strict")
    except UnicodeDecodeError:
        return False
    printable = {*string.printable.encode(), *range(0x80, 0x100)}
    return len(text.encode()) > len(head) - 4 and set(head) <= printable


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _message(known: Format, wanted: str) -> str:
    return f"is {known.name}, not {wanted}; {known.advice}"
