"""File formats known by their first bytes, so that an error can say what a file is."""

import re
import string
from collections.abc import Callable

HEAD = 544
"""Bytes that decide; as many as the longest header of NIfTI."""

_CONVERT = "convert it to NIfTI (.nii.gz)"
_UNPACK = "unpack it, then compress it with gzip as .nii.gz or leave it as .nii"
_ARCHIVE = "unpack it and name the volumes in it"
_TABLE = "name the volume, a NIfTI file or a DICOM folder"
_COLOUR = "a picture has no geometry: name the volume it was made of"

_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"BZh", "compressed with bzip2", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _UNPACK),
    (0, b"\xfd7zXZ\0", "compressed with xz", _UNPACK),
    (0, b"\x04\x22\x4d\x18", "compressed with LZ4", _UNPACK),
    (0, b"PK\x03\x04", "a zip archive", _ARCHIVE),
    (0, b"PK\x05\x06", "an empty zip archive", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _ARCHIVE),
    (0, b"Rar!", "a RAR archive", _ARCHIVE),
    (257, b"ustar", "a tar archive", _ARCHIVE),
    (0, b"\x89PNG", "a PNG picture", _COLOUR),
    (0, b"\xff\xd8\xff", "a JPEG picture", _COLOUR),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", _COLOUR),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture", _COLOUR),
    (0, b"GIF8", "a GIF picture", _COLOUR),
    (0, b"II*\0", "a TIFF picture", _COLOUR),
    (0, b"MM\0*", "a TIFF picture", _COLOUR),
    (0, b"%PDF", "a PDF document", _TABLE),
    (0, b"NRRD000", "an NRRD volume", f"{_CONVERT}, with SimpleITK for one"),
    (0, b"ObjectType", "a MetaImage volume", f"{_CONVERT}, with SimpleITK for one"),
    (0, b"NDims", "a MetaImage volume", f"{_CONVERT}, with SimpleITK for one"),
    (0, b"# vtk", "a VTK file", f"{_CONVERT}, with SimpleITK for one"),
    (0, b"\x89HDF", "an HDF5 file (HDF5, MINC 2 or MATLAB 7.3)", _CONVERT),
    (0, b"CDF\x01", "a netCDF file (MINC 1)", f"{_CONVERT}, with mnc2nii"),
    (0, b"CDF\x02", "a netCDF file (MINC 1)", f"{_CONVERT}, with mnc2nii"),
    (0, b"MATLAB", "a MATLAB file", _CONVERT),
    (0, b"\x93NUMPY", "a NumPy array, which has no geometry", _CONVERT),
    (0, b"# === DATA DESCRIPTION FILE", "a Philips PAR header", f"{_CONVERT}, with dcm2niix"),
    (0, b"PAR1", "a Parquet table", _TABLE),
    (0, b"SQLite format 3", "an SQLite database", _TABLE),
    (0, b"\x80\x02", "a pickle", _CONVERT),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file", "run git lfs pull"),
    (0, b"/annex/objects", "a git-annex pointer, not the file", "run git annex get"),
    (0, b"<!DOCTYPE", "a web page, not the file", "download it again"),
    (0, b"<!doctype", "a web page, not the file", "download it again"),
    (0, b"<html", "a web page, not the file", "download it again"),
    (0, b"<?xml", "an XML document", _TABLE),
)
"""Offset, bytes there, what the file is, what to do."""

_ELEMENT = re.compile(
    rb"[\x02\x08]\0[\0-\xff]\0(?:AE|CS|DA|DT|IS|LO|LT|OB|OW|PN|SH|SQ|ST|TM|UI|UL|UN|US|UT)"
    rb"|\x08\0[\0-\x18]\0[\0-\xff]\0\0\0"
)
"""A first data element of DICOM without its preamble: explicit, then implicit."""


def is_dicom_file(head: bytes) -> bool:
    """Return whether a file begins as DICOM does, with its preamble of 128 bytes or without."""
    return head[128:132] == b"DICM" or _ELEMENT.match(head) is not None


def describe_format(head: bytes) -> str | None:
    """Return what a file is and what to do, by its first bytes; None if they are not known.

    Args:
        head: The first :data:`HEAD` bytes, or all of a smaller file, unpacked.

    Example:
        >>> describe_format(b"NRRD0004")
        'is an NRRD volume, not NIfTI; convert it to NIfTI (.nii.gz), with SimpleITK for one'
        >>> describe_format(bytes(range(200, 256))) is None
        True
    """
    if is_dicom_file(head):  # first: its preamble may be that of a TIFF picture
        return "is one DICOM file; name the folder it lies in"
    for offset, magic, kind, remedy in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return f"is {kind}; {remedy}" if ", not " in kind else f"is {kind}, not NIfTI; {remedy}"
    for holds, kind, remedy in _OTHERS:
        if holds(head):
            return f"{kind}; {remedy}"
    return None


def _is_mgh(head: bytes) -> bool:
    """Version 1, then four positive extents, big-endian."""
    extents = [int.from_bytes(head[at : at + 4], "big") for at in (4, 8, 12, 16)]
    return head[:4] == b"\0\0\0\x01" and all(0 < extent < 1 << 16 for extent in extents)


def _is_text(head: bytes) -> bool:
    try:  # a character may be cut at the end of what was read
        text = head.decode("utf-8", "ignore" if len(head) >= HEAD else "strict")
    except UnicodeDecodeError:
        return False
    printable = {*string.printable.encode(), *range(0x80, 0x100)}
    return len(text.encode()) > len(head) - 4 and set(head) <= printable


_OTHERS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (lambda head: head[:2] == b"\x1f\x8b", "is compressed twice", "unpack it once"),
    (_is_mgh, "is a FreeSurfer volume (MGH), not NIfTI", f"{_CONVERT}, with mri_convert"),
    (
        lambda head: len(head) >= 348 and 348 in _sizes(head),
        "has a header of Analyze 7.5, which does not say where left is, or a damaged one of NIfTI",
        "convert it again from its source",
    ),
    (_is_text, "is a text, not NIfTI", _TABLE),
    (
        lambda head: not any(head),
        "begins with zero bytes only, as of an interrupted copy",
        "copy it again from its source",
    ),
)


def _sizes(head: bytes) -> tuple[int, int]:
    return int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
