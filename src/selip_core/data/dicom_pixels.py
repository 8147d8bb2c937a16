"""Pixels of DICOM slices, scaled to their units, or the reason why they cannot be read."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from selip_core.data.dicom_geometry import DCM2NIIX, differ, numbers
from selip_core.data.dicom_header import (
    INVALID,
    OVERLAY_BITS,
    PIXEL_DATA,
    DamagedFileError,
    DicomImage,
    read_pixels,
    uid_name,
)
from selip_core.data.unusable import UnusableVolumeError, require_size

if TYPE_CHECKING:
    from pydicom import FileDataset
    from pydicom.uid import UID

_EQUAL = (
    *("SOPClassUID", "Modality", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("Rows", "Columns", "BitsAllocated", "PixelRepresentation", "RescaleType", "Units"),
)
"""Elements that are equal in all slices of one volume."""

_CODECS = (
    ("JPEG-LS", "pyjpegls"),
    ("JPEG 2000", "pylibjpeg pylibjpeg-openjpeg"),
    ("High-Throughput JPEG 2000", "pylibjpeg pylibjpeg-openjpeg"),
    ("JPEG", "pylibjpeg pylibjpeg-libjpeg"),
)
"""Beginning of the name of a transfer syntax, and the packages by which pydicom decodes it."""


def require_grey(images: Sequence[DicomImage]) -> None:
    """Refuse images that are not slices of one grey volume in one unit, by their headers.

    Raises:
        UnusableVolumeError: With what they are, or which element is missing, wrong or differs.
    """
    for is_other, kind in _OTHER_KINDS:
        count = sum(is_other(image) for image in images)
        if count:
            raise UnusableVolumeError(f"{count} of {len(images)} images: {kind}")
    for keyword in _EQUAL:
        if any(image.values.get(keyword) != images[0].values.get(keyword) for image in images):
            raise UnusableVolumeError(differ(keyword))
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"):
        numbers(images, keyword, 1)
    count = sum(not _has_pixel_format(image.values) for image in images)
    if count:
        raise UnusableVolumeError(
            f"{count} of {len(images)} images are not of whole numbers of 8, 16 or 32 bits in the "
            f"lowest BitsStored bits; convert the series to NIfTI: {DCM2NIIX}"
        )


def read_slices(
    images: Sequence[DicomImage], limit: int
) -> Float32[np.ndarray, "slices rows columns"]:
    """Return the pixels, each slice scaled once by its own RescaleSlope and RescaleIntercept.

    Scales that are not part of the Modality LUT are left alone: private ones (Philips), Real World
    Value Mapping, windows.

    Args:
        images: Slices that :func:`require_grey` accepts.
        limit: Bytes of pixels, see :func:`~selip_core.data.unusable.require_size`.

    Raises:
        UnusableVolumeError: If they are too large, cut short, longer than their header says,
            damaged, or compressed in a way for which no decoder is installed.
    """
    values = images[0].values
    shape = len(images), int(values["Rows"]), int(values["Columns"])
    require_size(int(np.prod(shape)) * max(4, int(values["BitsAllocated"]) // 8), limit)
    for syntax in {image.syntax for image in images}:
        _require_decoder(syntax)
    slopes, intercepts = _rescale(images)
    scaled, failures = np.empty(shape, dtype=np.float32), Counter[str]()
    for index, image in enumerate(images):
        try:
            raw = _decode(image)
        except OSError as error:
            failures[error.strerror or "cannot be opened"] += 1
        except DamagedFileError as error:
            failures[str(error)] += 1
        else:
            scaled[index] = raw * slopes[index] + intercepts[index]
    require_none_damaged(failures, len(images))
    return scaled


def require_none_damaged(causes: Counter[str], total: int) -> None:
    """Refuse a folder with damaged files.

    Raises:
        UnusableVolumeError: With their number by cause.
    """
    if causes:
        counts = ", ".join(f"{count} {cause}" for cause, count in sorted(causes.items()))
        raise UnusableVolumeError(
            f"{causes.total()} of {total} files cannot be read ({counts}); copy them again from "
            "their source, or leave the series out"
        )


def _is_multi_frame(image: DicomImage) -> bool:
    frames = image.values.get("NumberOfFrames")
    return not (frames in (None, "") or frames == 1) or "Enhanced" in _class_name(image)


def _class_name(image: DicomImage) -> str:
    return uid_name(image.values.get("SOPClassUID")) or ""


def _is_colour(image: DicomImage) -> bool:
    photometric = image.values.get("PhotometricInterpretation")
    return image.values.get("SamplesPerPixel") != 1 or photometric not in (
        *("MONOCHROME1", "MONOCHROME2"),
        *(None, "", INVALID),
    )


_OTHER_KINDS: tuple[tuple[Callable[[DicomImage], bool], str], ...] = (
    (
        _is_multi_frame,
        f"multi-frame or enhanced, which is not read; convert the series to NIfTI: {DCM2NIIX}",
    ),
    (
        lambda image: "MOSAIC" in str(image.values.get("ImageType")).upper(),
        f"a mosaic of slices, which is not read; convert the series to NIfTI: {DCM2NIIX}",
    ),
    (
        lambda image: "Secondary Capture" in _class_name(image),
        "a secondary capture, as of a screen or a document, whose values have no known unit; "
        "leave it out",
    ),
    (
        lambda image: image.pixels.tag != PIXEL_DATA,
        f"pixels in floating point, which are not read; convert the series to NIfTI: {DCM2NIIX}",
    ),
    (
        lambda image: image.values.get("SamplesPerPixel") in (None, "", INVALID),
        "no SamplesPerPixel, so whether they are grey is unknown; export them again",
    ),
    (_is_colour, "in colour, not one grey channel; leave them out"),
    (
        lambda image: image.values.get("PhotometricInterpretation") == "MONOCHROME1",
        "MONOCHROME1, in which dark and bright are exchanged; export them as MONOCHROME2",
    ),
    (
        lambda image: image.values.get("PhotometricInterpretation") != "MONOCHROME2",
        "no PhotometricInterpretation, where MONOCHROME2 is needed; export them again",
    ),
    (
        lambda image: bool(image.values.get("ModalityLUTSequence")),
        "a ModalityLUTSequence, a table in place of a scale, which is not applied; convert the "
        f"series to NIfTI: {DCM2NIIX}",
    ),
)
"""Tests for images that are not slices of a grey volume, with the kind and the remedy."""


def _has_pixel_format(values: Mapping[str, Any]) -> bool:
    allocated, stored = values["BitsAllocated"], values["BitsStored"]
    high_bit = values.get("HighBit")
    return (
        allocated in (8, 16, 32)
        and 1 <= stored <= allocated
        and (high_bit is None or high_bit == stored - 1)
        and values["PixelRepresentation"] in (0, 1)
        and values["Rows"] > 0
        and values["Columns"] > 0
    )


def _rescale(images: Sequence[DicomImage]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return slope and intercept of each image: 1 and 0 if none has them."""
    keywords = ("RescaleSlope", "RescaleIntercept")
    if not any(image.values.get(keyword) is not None for image in images for keyword in keywords):
        return np.ones(len(images)), np.zeros(len(images))
    slopes, intercepts = (numbers(images, keyword, 1)[:, 0] for keyword in keywords)
    if (slopes == 0).any():
        raise UnusableVolumeError("a RescaleSlope is 0, which erases the image; export it again")
    return slopes, intercepts


def _require_decoder(syntax: "UID") -> None:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnusableVolumeError(
            f"stored as {_syntax_name(syntax)}, which pydicom does not decode; convert the series "
            f"to NIfTI: {DCM2NIIX}"
        ) from None
    if not decoder.is_available:
        raise UnusableVolumeError(
            f"compressed as {_syntax_name(syntax)}, for which no decoder is installed: "
            f"pip install {_packages(syntax)}"
        )


def _syntax_name(syntax: "UID") -> str:
    return uid_name(syntax) or "a private transfer syntax"


def _packages(syntax: "UID") -> str:
    name = _syntax_name(syntax)
    return next((packages for start, packages in _CODECS if name.startswith(start)), "")


def _decode(image: DicomImage) -> NDArray[Any]:
    """Return the stored values of one slice, (rows, columns)."""
    from pydicom.pixels.decoders.base import get_decoder

    dataset = read_pixels(image)
    is_raw = not image.syntax.is_encapsulated
    _require_length(dataset, image, is_raw)
    decoder = get_decoder(image.syntax)
    options: dict[str, Any] = {"allow_excess_frames": False}
    if is_raw or image.syntax.name == "RLE Lossless":
        options["correct_unused_bits"] = False  # they are looked at below
    try:
        stored, _ = decoder.as_array(dataset, raw=True, **options)
    except MemoryError:
        raise
    except Exception:  # decoders raise whatever their formats raise
        packages = _packages(image.syntax)
        hint = f", or {_syntax_name(image.syntax)} that needs {packages}" if packages else ""
        raise DamagedFileError("damaged" + hint) from None
    if stored.shape != (image.values["Rows"], image.values["Columns"]):
        raise DamagedFileError("of another size than their header says")
    return (
        _without_unused_bits(stored, image.values) if "correct_unused_bits" in options else stored
    )


def _require_length(dataset: "FileDataset", image: DicomImage, is_raw: bool) -> None:
    if is_raw != (image.pixels.length is not None):
        raise DamagedFileError("damaged, or without a true transfer syntax")
    values = image.values
    expected = values["Rows"] * values["Columns"] * values["BitsAllocated"] // 8
    got = len(dataset.PixelData)
    if is_raw and got < expected:
        raise DamagedFileError("cut short")
    if is_raw and got > expected + expected % 2:
        raise DamagedFileError("longer than their header says")


def _without_unused_bits(stored: NDArray[Any], values: Mapping[str, Any]) -> NDArray[Any]:
    """Return the values in the lowest BitsStored bits, of which the highest may be a sign.

    The bits above are filled with zeros or the sign, or hold overlays that the header declares.
    """
    unused = values["BitsAllocated"] - values["BitsStored"]
    if not unused:
        return stored
    kept: NDArray[Any] = (stored << unused) >> unused
    filled = (kept == stored) | (kept & ((1 << values["BitsStored"]) - 1) == stored)
    if not filled.all() and not any(bit >= values["BitsStored"] for bit in values[OVERLAY_BITS]):
        raise DamagedFileError("with values beyond their BitsStored")
    return kept
