"""Damaged NIfTI files: read exactly as nibabel reads them, or refused as data, within the limit."""

import gzip
import logging
import tracemalloc
from dataclasses import dataclass

import nibabel
import numpy as np
import pytest

from selip_core.data import read_volume
from selip_core.errors import DataError

LIMIT = 1 << 20
"""Bytes; the sound files have at most 48 KiB in float64."""

MARGIN = 1 << 23
"""Bytes for the slab of float64 that scales, buffers of zlib and what Python itself keeps."""

AXES = [np.eye(3), np.diag([-1, -1, 1]), np.eye(3)[:, [2, 0, 1]], np.diag([-1, 1, 1])]


@dataclass(frozen=True)
class Case:
    """The bytes of a file, and what was done to them."""

    content: bytes
    compressed: bool
    name: str


def sound_file(random):
    """Return a sound NIfTI file before compression, and its header class."""
    version = random.integers(2)
    header_class = (nibabel.Nifti1Header, nibabel.Nifti2Header)[version]
    image_class = (nibabel.Nifti1Image, nibabel.Nifti2Image)[version]
    dtype = random.choice(["u1", "i2", "i4", "f4", "f8"])
    shape = tuple(int(length) for length in random.integers(3, 18, 3))
    voxels = random.integers(0, 100, shape + (1,) * int(random.integers(2))).astype(dtype)
    affine = np.eye(4)
    affine[:3, :3] = AXES[random.integers(len(AXES))] * random.uniform(0.5, 5, 3)
    affine[:3, 3] = random.normal(size=3) * 50
    header = header_class(endianness=str(random.choice(["<", ">"])))
    header.set_data_dtype(dtype)
    image = image_class(voxels, None, header)
    image.header.set_xyzt_units("mm")
    forms = random.integers(1, 4)
    image.header.set_qform(affine, int(forms & 1))
    image.header.set_sform(affine, int(forms >> 1))
    if random.random() < 0.5:
        image.header.set_slope_inter(0.5, 3)
    return bytearray(image.to_bytes()), header_class


def mutate_field(content, header_class, random):
    """Write an extreme or a random value into one field of the header."""
    dtype = header_class(bytes(content[: header_class.sizeof_hdr]), check=False)._structarr.dtype
    name = str(random.choice(dtype.names))
    field, offset = dtype.fields[name][:2]
    element = field.base
    place = offset + element.itemsize * int(
        random.integers(max(1, np.prod(field.shape, dtype=int)))
    )
    if element.kind == "f":
        values = [0, -1, 1, np.nan, np.inf, -np.inf, 1e30, 1e-30, float(random.normal() * 10)]
        value = np.array(random.choice(values), dtype=element).tobytes()
    elif element.kind in "iu":
        bounds = np.iinfo(element)
        values = [0, 1, 2, 3, 7, 255, bounds.min, bounds.max, bounds.max // 3]
        value = np.array(values[random.integers(len(values))] & bounds.max, element).tobytes()
        if random.random() < 0.3:
            value = random.bytes(element.itemsize)
    else:
        value = random.bytes(element.itemsize)
    content[place : place + len(value)] = value
    return name


def mutate_bytes(content, random):
    """Flip bits, cut, lengthen, blank or shift a part; return how."""
    how = random.choice(["flip", "cut", "lengthen", "blank", "insert", "remove"])
    place = int(random.integers(len(content)))
    length = int(random.integers(1, 600))
    if how == "flip":
        for _ in range(random.integers(1, 4)):
            content[random.integers(len(content))] ^= 1 << int(random.integers(8))
    elif how == "cut":
        del content[place:]
    elif how == "lengthen":
        content += random.bytes(length) if random.random() < 0.5 else bytes(length)
    elif how == "blank":
        content[place : place + length] = bytes(len(content[place : place + length]))
    elif how == "insert":
        content[place:place] = random.bytes(length)
    else:
        del content[place : place + length]
    return how


def make_case(seed):
    random = np.random.default_rng(seed)
    content, header_class = sound_file(random)
    compressed = bool(random.integers(2))
    kind = random.choice(["field", "before", "after", "bomb"], p=[0.4, 0.25, 0.3, 0.05])
    name = ""
    if kind == "field":
        name = mutate_field(content, header_class, random)
    elif kind == "before" or (kind == "after" and not compressed):
        name = mutate_bytes(content, random)
    packed = bytearray(gzip.compress(bytes(content), 1, mtime=0)) if compressed else content
    if kind == "after" and compressed:
        name = mutate_bytes(packed, random)
    if kind == "bomb":
        packed = bytearray(gzip.compress(bytes(content))) + gzip.compress(bytes(1 << 22)) * 16
        compressed = True
    return Case(bytes(packed), compressed, f"{kind} {name}")


def read_within_limit(path):
    """Return the volume, or None where it is refused; check the memory that was used."""
    tracemalloc.start()
    try:
        return read_volume(path, "W", max_volume_gib=LIMIT / 2**30)
    except DataError:
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * LIMIT + MARGIN, f"{peak:,} bytes"


def require_like_nibabel(image, path):
    oracle = nibabel.load(path)
    voxels = np.asarray(oracle.dataobj, dtype=np.float32).reshape(oracle.shape[:3])
    np.testing.assert_array_equal(image.affine.numpy(), oracle.affine)
    np.testing.assert_array_equal(image.numpy()[0], voxels)


def test_mutated_nifti(campaign, tmp_path):
    """NIfTI files with flipped bits, cut, lengthened, or with one header field changed."""
    content, _ = sound_file(np.random.default_rng(0))
    (tmp_path / "sound.nii").write_bytes(content)
    read_volume(tmp_path / "sound.nii", "W")  # imports need memory too
    read = 0
    for seed in campaign.seeds(300):
        case = make_case(seed)
        path = tmp_path / ("a.nii.gz" if case.compressed else "a.nii")
        path.write_bytes(case.content)
        with campaign.case(f"{seed} ({case.name})"):
            image = read_within_limit(path)
            if image is not None:
                require_like_nibabel(image, path)
                read += 1
    assert read > campaign.cases // 10  # a reader that refuses everything finds no fault


@pytest.fixture(autouse=True)
def nibabel_is_silent():
    """It warns of headers that it repairs."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
