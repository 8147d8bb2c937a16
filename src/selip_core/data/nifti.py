"""NIfTI files: header and voxels from one opening, whole or refused."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from selip_core.containers import HEAD, foreign_volume
from selip_core.data.nifti_geometry import Geometry, affine_of
from selip_core.data.streams import ByteStream, require_matching_suffix
from selip_core.data.unusable import UnusableVolumeError, limit_bytes, require_size

if TYPE_CHECKING:
    from monai.data import MetaTensor

_SLAB = 1 << 20
"""Voxels that are scaled at a time; nibabel computes in float64."""


def read_nifti(path: Path, geometry: Geometry = "auto", limit: int | None = None) -> "MetaTensor":
    """Return the image (1, i, j, k), float32, scaled once by its header, with its affine in RAS mm.

    nibabel interprets the header's fields. Its checks, which repair a header or guess, are
    replaced by refusals.

    Args:
        path: A single file of NIfTI-1 or NIfTI-2, compressed with gzip or not, by its content.
        geometry: See :func:`~selip_core.data.nifti_geometry.affine_of`.
        limit: Bytes of voxels at most; by default :func:`limit_bytes`.

    Raises:
        UnusableVolumeError: If it is not NIfTI, damaged or cut, not a single grey 3D volume, larger
            than the limit, or open in its geometry.
        OSError: If the file cannot be read.
    """
    from monai.data import MetaTensor

    limit = limit_bytes() if limit is None else limit
    with path.open("rb") as file:
        stream = ByteStream(file)
        header = _read_header(stream)
        require_matching_suffix(path, stream.compressed)
        shape, kind = _require_volume(header), _require_grey(header)
        affine = affine_of(header, geometry)
        voxels, offset = math.prod(shape), _offset(header)
        # Four bytes: float32, which they become.
        require_size(max(offset + voxels * kind.itemsize, voxels * 4), limit)
        raw = _read_voxels(stream, offset, voxels, kind, shape)
    image = _scaled(raw, header).reshape(1, *shape)
    return MetaTensor(torch.from_numpy(image), affine=torch.from_numpy(affine))


def _read_header(stream: ByteStream) -> Any:
    """Return nibabel's header, as it is in the file."""
    from nibabel import Nifti1Header, Nifti2Header

    head = stream.peek(HEAD)
    if not head:
        raise UnusableVolumeError("is empty (0 bytes); copy it again from its source")
    classes: tuple[tuple[Any, int], ...] = ((Nifti1Header, 344), (Nifti2Header, 4))
    for header_class, magic_at in classes:
        size = header_class.sizeof_hdr
        magic = head[magic_at : magic_at + 4]
        if magic == header_class.pair_magic + b"\0":
            raise UnusableVolumeError(
                "is the header of a pair of files (.hdr, .img); convert both to one .nii.gz"
            )
        if magic == header_class.single_magic + b"\0" and len(head) >= size:
            header = header_class(head[:size], _byte_order(head, size), check=False)
            _require_end_of_line(header)
            return header
    raise UnusableVolumeError(
        foreign_volume(head)
        or "is truncated, damaged, or neither NIfTI nor a DICOM folder: its first bytes are of no "
        "known format; copy or convert it again"
    )


def _byte_order(head: bytes, size: int) -> str:
    for order, name in (("<", "little"), (">", "big")):
        if int.from_bytes(head[:4], name) == size:  # type: ignore[arg-type]
            return order
    raise UnusableVolumeError(
        f"its header is damaged: sizeof_hdr is not {size} in either byte order; "
        "copy or convert it again"
    )


def _require_end_of_line(header: Any) -> None:
    if "eol_check" in header.keys() and tuple(header["eol_check"]) not in (  # noqa: SIM118
        (13, 10, 26, 10),
        (0, 0, 0, 0),
    ):
        raise UnusableVolumeError(
            "its header is damaged (eol_check), as by a transfer in text mode; "
            "copy it again in binary mode"
        )


def _require_volume(header: Any) -> tuple[int, int, int]:
    """Return the three extents."""
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= 7:
        raise UnusableVolumeError(
            f"its header is damaged: dim[0] must be 1 to 7, got {dimensions}; "
            "copy or convert it again"
        )
    shape = tuple(int(length) for length in header["dim"][1 : dimensions + 1])
    if any(length < 1 for length in shape):
        raise UnusableVolumeError(
            f"expected one 3D volume, got an axis without voxels: shape {shape}; "
            "convert it again from its source"
        )
    if len(shape) < 3 or any(length != 1 for length in shape[3:]):
        raise UnusableVolumeError(
            f"expected one 3D volume, got {len(shape)}D of shape {shape}; "
            "write each 3D volume to a file of its own"
        )
    return shape[0], shape[1], shape[2]


def _require_grey(header: Any) -> np.dtype[Any]:
    """Return the type of a voxel in the file, in its byte order."""
    code = int(header["datatype"])
    try:
        kind: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except KeyError:
        kind = np.dtype(np.void)
    if kind.names:
        raise UnusableVolumeError(
            f"is a colour image ({''.join(kind.names)}), not one grey volume; leave it out, or "
            "convert the volume that it was made of"
        )
    if kind.kind == "c":
        raise UnusableVolumeError(
            "its voxels are complex numbers, not one grey volume; write their magnitude to a file"
        )
    if kind.kind not in "iuf" or not kind.itemsize:
        raise UnusableVolumeError(
            f"the type of its voxels, NIfTI's datatype {code}, cannot be read here; "
            "convert it to int16 or float32"
        )
    return kind


def _offset(header: Any) -> int:
    """Return where the voxels begin."""
    offset = float(header["vox_offset"])
    if not header.single_vox_offset <= offset < 2**53 or offset != int(offset):
        raise UnusableVolumeError(
            "its header is damaged: vox_offset must be a whole number of at least "
            f"{header.single_vox_offset}; copy or convert it again"
        )
    return int(offset)


def _read_voxels(
    stream: ByteStream, offset: int, count: int, kind: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return the voxels as stored, first axis fastest, once the stream has been read to its end.

    Fewer bytes than one plane may follow them: padding. A whole plane or more means that the
    header says less than there is, as one with a wrong extent or type does.
    """
    content = np.empty(count * kind.itemsize, dtype=np.uint8)
    found = stream.skip(offset)
    if found == offset:
        found += stream.readinto(content.data)
    needed = offset + len(content)
    if found < needed:
        raise UnusableVolumeError(
            f"is truncated: its header declares {needed:,} bytes, there are {found:,}; "
            "copy it again from its source"
        )
    plane = len(content) // max(shape)
    if stream.skip(plane) == plane:
        raise UnusableVolumeError(
            f"goes on after the {needed:,} bytes that its header declares, so extents or type of "
            "its voxels are wrong there; convert it again from its source"
        )
    return content.view(kind).reshape(shape, order="F")


def _scaled(raw: NDArray[Any], header: Any) -> NDArray[np.float32]:
    """Return the voxels in float32, by nibabel's rule of slope and intercept."""
    from nibabel.volumeutils import apply_read_scaling

    slope, inter = _slope_inter(header)
    if raw.dtype == np.float32 and raw.dtype.isnative and (slope, inter) == (1.0, 0.0):
        return raw
    scaled = np.empty(raw.shape, dtype=np.float32, order="F")
    step = max(1, _SLAB // (raw.shape[0] * raw.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as infinite
        for start in range(0, raw.shape[2], step):
            slab = slice(start, start + step)
            scaled[..., slab] = apply_read_scaling(raw[..., slab], slope, inter)
    return scaled


def _slope_inter(header: Any) -> tuple[float, float]:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError:
        raise UnusableVolumeError(
            "its scl_inter is not finite, so its intensities are unknown; "
            "convert it again from its source"
        ) from None
    return (1.0, 0.0) if slope is None else (slope, inter)
