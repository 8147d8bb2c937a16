"""The header and the pixel data of one DICOM file, parsed by pydicom and checked."""

import io
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from selip_core.data.unusable import require_size

if TYPE_CHECKING:
    from pydicom import FileDataset
    from pydicom.uid import UID

KEYWORDS: Final = (
    *("SOPClassUID", "ImageType", "Modality", "PatientID"),
    *("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices"),
    *("EchoTime", "EchoNumbers", "InversionTime", "FlipAngle", "DiffusionBValue"),
    *("DiffusionGradientOrientation", "TemporalPositionIdentifier", "TriggerTime"),
    *("AcquisitionNumber", "AcquisitionTime"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "Units", "ModalityLUTSequence"),
)
"""Elements that are read from a header; others are skipped."""

OVERLAY_BITS: Final = "OverlayBitPosition"
"""Key of the bits of the pixels that hold overlays (60xx,0102), retired: PS3.3 C.9.2 of 2004."""

INVALID: Final = object()
"""Value of an element that does not hold what its type demands, such as a letter in a number."""

PIXEL_DATA = 0x7FE00010
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_OVERLAY_TAGS = tuple(0x60000102 + (group << 17) for group in range(16))
_UNDEFINED_LENGTH = 0xFFFFFFFF
_DEFLATED = "1.2.840.10008.1.2.1.99"


class DamagedFileError(Exception):
    """The message is the cause, without path or value."""


@dataclass(frozen=True)
class Pixels:
    """The element that holds the pixels.

    Attributes:
        tag: :data:`PIXEL_DATA`, or a tag of pixels in floating point.
        length: Bytes; None if they are encapsulated, which compressed ones are.
    """

    tag: int
    length: int | None


@dataclass(frozen=True)
class Header:
    """A parsed header.

    Attributes:
        class_uids: SOP class of the object and of its file information, as far as they are there.
        values: By keyword, as pydicom converts them, or :data:`INVALID`.
        syntax: Transfer syntax; that which was found by trial if none is named.
        pixels: None if the file ends before them.
    """

    class_uids: tuple[str, ...]
    values: Mapping[str, Any]
    syntax: "UID"
    pixels: Pixels | None


@dataclass(frozen=True)
class DicomImage:
    """One file with pixels; see :class:`Header`."""

    path: Path
    values: Mapping[str, Any]
    syntax: "UID"
    pixels: Pixels

    @property
    def series(self) -> str:
        """SeriesInstanceUID, empty if there is none."""
        return str(self.values.get("SeriesInstanceUID") or "").strip(" \0")


def read_header(path: Path, limit: int) -> Header:
    """Return the header of a DICOM file, with its preamble or without, up to its pixels.

    Args:
        path: The file.
        limit: Bytes to which a deflated file may unpack.

    Raises:
        DamagedFileError: If it cannot be parsed, or ends within its pixels.
        OSError: If it cannot be read.
        UnusableVolumeError: If it exceeds the limit.
    """
    seen: list[tuple[int, int, int]] = []
    with _ClippedReader(io.FileIO(path)) as file:

        def stop_at_pixels(tag: int, vr: str | None, length: int) -> bool:
            if tag in (PIXEL_DATA, *_FLOAT_PIXELS):
                seen.append((tag, length, file.tell()))
            return bool(seen)

        _require_bounded(file, limit)
        dataset = _parse(file, stop_at_pixels, _tags())
        header = _header_of(dataset, _pixels(seen))
        end = sum(seen[0][1:]) if header.pixels and header.pixels.length is not None else 0
        if header.syntax != _DEFLATED and max(end, file.tell()) > os.fstat(file.fileno()).st_size:
            raise DamagedFileError("cut short")
    return header


def read_pixels(image: DicomImage) -> "FileDataset":
    """Return what is needed of a file together with its pixel data.

    Raises:
        DamagedFileError: If they cannot be parsed.
        OSError: If the file cannot be read.
    """

    def stop_after_pixels(tag: int, vr: str | None, length: int) -> bool:
        return tag > PIXEL_DATA

    with _ClippedReader(io.FileIO(image.path)) as file:
        dataset = _parse(file, stop_after_pixels, [*_tags(), *_OFFSET_TABLES, PIXEL_DATA])
    if PIXEL_DATA not in dataset or not isinstance(dataset.PixelData, bytes):
        raise DamagedFileError("cut short")
    dataset.file_meta.TransferSyntaxUID = image.syntax
    return dataset


def uid_name(uid: object) -> str | None:
    """Return the name that the standard gives a UID; None for private ones, values of the file.

    Example:
        >>> uid_name("1.2.840.10008.5.1.4.1.1.4"), uid_name("1.2.3")
        ('MR Image Storage', None)
    """
    from pydicom.uid import UID

    name = UID(str(uid)).name
    return name if name != str(uid) else None


def _parse(
    file: io.BufferedReader, stop: Callable[[int, str | None, int], bool], tags: list[int]
) -> "FileDataset":
    from pydicom.filereader import read_partial

    try:
        dataset = read_partial(file, stop, specific_tags=list(tags), force=True)
        list(dataset.file_meta)  # converts its elements
        if PIXEL_DATA in dataset:
            dataset[PIXEL_DATA]
    except (OSError, MemoryError):
        raise
    except Exception:  # pydicom raises whatever its parser meets, and quotes the file
        raise DamagedFileError("damaged") from None
    dataset.buffer = None  # pydicom keeps the open file
    return dataset


def _header_of(dataset: "FileDataset", pixels: Pixels | None) -> Header:
    meta = dataset.file_meta
    try:
        values = {keyword: _value(dataset, keyword) for keyword in KEYWORDS if keyword in dataset}
        values[OVERLAY_BITS] = [dataset[tag].value for tag in _OVERLAY_TAGS if tag in dataset]
        named = (values.get("SOPClassUID"), meta.get("MediaStorageSOPClassUID"))
        syntax = meta.get("TransferSyntaxUID") or _syntax_by_trial(dataset)
    except Exception:
        raise DamagedFileError("damaged") from None
    return Header(tuple(str(uid) for uid in named if uid), values, syntax, pixels)


def _value(dataset: "FileDataset", keyword: str) -> Any:
    try:
        return dataset[keyword].value
    except (ValueError, TypeError, OverflowError):
        return INVALID


def _pixels(seen: list[tuple[int, int, int]]) -> Pixels | None:
    if not seen:
        return None
    tag, length, _ = seen[0]
    return Pixels(tag, None if length == _UNDEFINED_LENGTH else length)


def _syntax_by_trial(dataset: "FileDataset") -> "UID":
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian


@cache
def _tags() -> list[int]:
    from pydicom.datadict import tag_for_keyword

    tags = [tag_for_keyword(keyword) for keyword in KEYWORDS]
    return [tag for tag in tags if tag is not None] + list(_OVERLAY_TAGS)


def _require_bounded(file: io.BufferedReader, limit: int) -> None:
    """Refuse a deflated file that unpacks beyond the limit, before pydicom unpacks it whole."""
    head = file.read(2048)
    if head[128:132] == b"DICM" and _DEFLATED.encode() in head:
        file.seek(144 + int.from_bytes(head[140:144], "little"))  # behind the file information
        unpacker, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
        try:
            while not unpacker.eof and (packed := unpacker.unconsumed_tail or file.read(1 << 16)):
                unpacked += len(unpacker.decompress(packed, 1 << 20))
                require_size(unpacked, limit)
        except zlib.error:
            raise DamagedFileError("damaged") from None
    file.seek(0)


class _ClippedReader(io.BufferedReader):
    """A file whose reads allocate at most what is left of it, whatever length a header claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)
