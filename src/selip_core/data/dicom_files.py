"""DICOM files of a folder, found by their content, and the series that they belong to."""

import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selip_core.data.dicom_header import DamagedFileError, DicomImage, Header, read_header, uid_name
from selip_core.data.unusable import UnusableVolumeError, describe_os_error

_logger = logging.getLogger(__name__)

_HEAD = 144
"""Bytes that distinguish DICOM from other files: preamble, prefix and the first data element."""

_SLICE_SUFFIXES = {".dcm", ".dicom", ".ima"}
_SYSTEM_FILES = {"dicomdir", "thumbs.db", "desktop.ini"}
_APPLE_DOUBLE = b"\x00\x05\x16\x07"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_BARE_ELEMENT = re.compile(
    rb"[\x02\x08]\x00..(?:[A-Z]{2}|..\x00\x00)|\x00\x08..[A-Z]{2}", re.DOTALL
)
"""A first data element without preamble: little-endian, or big-endian with explicit types."""

_IMAGE_CLASS = re.compile("Image|Secondary Capture")


@dataclass
class DicomFolder:
    """The regular files of one folder, sorted by their content and not by their names.

    Attributes:
        images: Files with pixels, sorted by name.
        objects: Number of objects without pixels by SOP class, such as structured reports.
        damaged: Number of files that are DICOM, or should be, and cannot be read, by cause.
        others: First bytes of all other files.
    """

    images: list[DicomImage] = field(default_factory=list)
    objects: Counter[str] = field(default_factory=Counter)
    damaged: Counter[str] = field(default_factory=Counter)
    others: dict[Path, bytes] = field(default_factory=dict)


def list_dicom(folder: Path, limit: int) -> DicomFolder:
    """Classify the files of a folder, without its subfolders.

    Every regular file counts by its content, hidden ones too: DICOM with its preamble, or without
    one if it is a data set of a known SOP class or has rows and columns. A file that is neither but
    is named as the slices are counts as damaged: to leave it out could cut the volume short.

    Args:
        folder: A folder; links to files in it are followed.
        limit: Bytes to which a deflated file may unpack.

    Raises:
        UnusableVolumeError: If the folder cannot be listed, or a file exceeds the limit.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UnusableVolumeError(describe_os_error(error, folder)) from None
    found = DicomFolder()
    for path in paths:
        _sort_in(path, found, limit)
    names = {image.path.name for image in found.images}
    for path in [path for path, head in found.others.items() if _is_lost(path, head, names)]:
        del found.others[path]
        found.damaged["empty, a broken link, or no longer DICOM"] += 1
    if found.objects:
        _logger.info("left out objects without pixels: %s", counted(found.objects))
    return found


def group_series(images: Sequence[DicomImage]) -> dict[str, list[DicomImage]]:
    """Return the images of each series by SeriesInstanceUID, in the order given."""
    series: dict[str, list[DicomImage]] = {}
    for image in images:
        series.setdefault(image.series, []).append(image)
    return series


def images_below(folder: Path, limit: int) -> Iterator[DicomImage]:
    """Yield the images in all subfolders of a folder."""
    for root, _, _ in os.walk(folder):
        if Path(root) != folder:
            yield from list_dicom(Path(root), limit).images


def counted(counts: Counter[str]) -> str:
    """Return names with their numbers.

    Example:
        >>> counted(Counter({"RT Plan Storage": 2, "Basic Text SR Storage": 1}))
        '1 Basic Text SR Storage, 2 RT Plan Storage'
    """
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _sort_in(path: Path, found: DicomFolder, limit: int) -> None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if _begins_as_dicom(head):
            _sort_in_dicom(path, head, found, limit)
        else:
            found.others[path] = head
    except FileNotFoundError:  # a link to nothing
        found.others[path] = b""
    except OSError as error:
        found.damaged[error.strerror or "cannot be opened"] += 1
    except DamagedFileError as error:
        found.damaged[str(error)] += 1


def _begins_as_dicom(head: bytes) -> bool:
    """Return whether a file has the prefix of DICOM, or begins with a data element without it.

    Raises:
        DamagedFileError: If the file information follows a prefix that is not DICOM's.
    """
    if head[128:132] == b"DICM" or _BARE_ELEMENT.match(head):
        return True
    if head[132:138] == b"\x02\x00\x00\x00UL" or head[128:134] == b"\x02\x00\x00\x00UL":
        raise DamagedFileError("damaged")
    return False


def _sort_in_dicom(path: Path, head: bytes, found: DicomFolder, limit: int) -> None:
    header = read_header(path, limit)
    name = next(filter(None, map(uid_name, header.class_uids)), None)
    if header.pixels is not None:
        found.images.append(DicomImage(path, header.values, header.syntax, header.pixels))
    elif name is not None and not _IMAGE_CLASS.search(name):
        found.objects[name] += 1
    elif name is not None or "Rows" in header.values:
        raise DamagedFileError("cut short")
    elif head[128:132] != b"DICM":
        found.others[path] = head
    elif _is_private(header):
        found.objects["object of a private class"] += 1
    else:
        raise DamagedFileError("cut short")


def _is_private(header: Header) -> bool:
    """Return whether an object is whole enough to believe that its class is none of the standard.

    Its class is named twice, by the object and by its file information, and a cut or flipped bits
    hardly leave both the same.
    """
    uids = header.class_uids
    return len(uids) == 2 and uids[0] == uids[1] and re.fullmatch("[0-9.]+", uids[0]) is not None


def _suffix(path: Path) -> str:
    """Return the suffix of a name in small letters; a number, as in UIDs, is none."""
    suffix = path.suffix.lower()
    return suffix if re.search("[a-z]", suffix) else ""


def _is_lost(path: Path, head: bytes, names: set[str]) -> bool:
    """Return whether a file that is not DICOM is named as the slices are."""
    if path.name.lower() in _SYSTEM_FILES or head.startswith(_APPLE_DOUBLE):
        return False
    suffixes = _SLICE_SUFFIXES | {_suffix(Path(name)) for name in names}
    if any(suffix.lower() in suffixes for suffix in path.suffixes):
        return True
    return "" in suffixes and _is_lost_without_suffix(path, head, names)


def _is_lost_without_suffix(path: Path, head: bytes, names: set[str]) -> bool:
    """Return whether a file may be a slice where the names of slices have no suffix.

    Slices are numbered, and are no text: a ``README`` may be left out, an error page of a server
    that was saved as ``IM0012`` may not. A hidden file is no slice where no slice is hidden.
    """
    if path.name.startswith(".") and not any(name.startswith(".") for name in names):
        return False
    if head.startswith(_COMPRESSED) and path.stem not in names:
        return _is_lost_without_suffix(path.with_suffix(""), b"", names)
    is_numbered = re.search("[0-9]", path.name) is not None
    return not _suffix(path) and (is_numbered or b"\0" in head)
