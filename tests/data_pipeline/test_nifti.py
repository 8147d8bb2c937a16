"""Damaged, oversized and mislabelled NIfTI files."""

import gzip
import os
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from selip_core.data import Preprocessing, read_volume
from selip_core.errors import DataError

VOXELS = np.random.default_rng(0).integers(0, 1000, (20, 24, 16)).astype(np.int16)
GIB = 2**30


def message_of(path, **options):
    with pytest.raises(DataError) as caught:
        read_volume(path, "W", **options)
    return caught.value.problems[0].message


@pytest.fixture
def plain(tmp_path):
    """The bytes of a sound file: 352 of header, 15,360 of voxels."""
    nibabel.save(nibabel.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "sound.nii")
    return (tmp_path / "sound.nii").read_bytes()


@pytest.fixture
def write(tmp_path):
    """Write bytes under a name; return the path."""

    def write_bytes(content, name="a.nii.gz"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write_bytes


def with_field(content, offset, layout, value):
    return (
        content[:offset] + struct.pack(layout, value) + content[offset + struct.calcsize(layout) :]
    )


def test_every_flipped_bit_of_a_gzip_stream_is_found(write, plain):
    sound = gzip.compress(plain, mtime=0)
    random = np.random.default_rng(0)
    for place in random.integers(10, len(sound), 60):  # after the header of 10 bytes
        content = bytearray(sound)
        content[place] ^= 1 << int(random.integers(8))
        assert "gzip stream" in message_of(write(bytes(content)))


@pytest.mark.parametrize("lost", [1, 4, 8, 100])
def test_footer_of_gzip_missing(write, plain, lost):
    message = message_of(write(gzip.compress(plain)[:-lost]))
    assert message.startswith("is truncated: its gzip stream stops before its end")


def test_other_bytes_after_the_stream(write, plain):
    message = message_of(write(gzip.compress(plain) + b"rest of an older file"))
    assert message.startswith("other bytes follow the end of its gzip stream")


@pytest.mark.parametrize("name", ["a.nii.gz", "A.NII.GZ", "without_suffix", "a.gz"])
@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        lambda content: gzip.compress(content) + bytes(100_000),
        lambda content: gzip.compress(content[:5000]) + gzip.compress(content[5000:]),
        lambda content: gzip.compress(content) + gzip.compress(b""),
    ],
    ids=["one member", "zeros follow", "two members", "an empty member"],
)
def test_gzip_as_the_standard_allows_it(write, plain, pack, name):
    voxels = read_volume(write(pack(plain), name), "W").numpy()[0]
    np.testing.assert_array_equal(voxels, VOXELS)


@pytest.mark.parametrize("name", ["a.nii", "A.NII", "without_suffix", "a.img"])
def test_plain_files_by_content(write, plain, name):
    np.testing.assert_array_equal(read_volume(write(plain, name), "W").numpy()[0], VOXELS)


def test_extensions_are_passed_over(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 3000))
    nibabel.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz", "W").numpy()[0], VOXELS)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_padding_is_less_than_a_plane(write, plain, pack):
    """The smallest plane has 15,360 / 24 = 640 bytes; an extent that is one less leaves as many."""
    name = "a.nii" if pack is bytes else "a.nii.gz"
    padded = write(pack(plain + bytes(639)), name)
    np.testing.assert_array_equal(read_volume(padded, "W").numpy()[0], VOXELS)
    assert "goes on after the 15,712 bytes" in message_of(write(pack(plain + bytes(640)), name))
    assert "declares 15,712 bytes, there are 15,711" in message_of(write(pack(plain[:-1]), name))


DIM, DATATYPE, OFFSET = 40, 70, 108


@pytest.mark.parametrize(
    ("offset", "layout", "value", "message"),
    [
        (0, "<i", 349, "sizeof_hdr is not 348 in either byte order"),
        (DIM, "<h", 0, "dim[0] must be 1 to 7, got 0"),
        (DIM, "<h", 8, "dim[0] must be 1 to 7, got 8"),
        (DIM, "<h", -3, "dim[0] must be 1 to 7, got -3"),
        (DIM, "<h", 2, "expected one 3D volume, got 2D"),
        (DIM + 4, "<h", 0, "an axis without voxels: shape (20, 0, 16)"),
        (DIM + 4, "<h", -24, "an axis without voxels: shape (20, -24, 16)"),
        (DIM + 4, "<h", 23, "goes on after"),
        (DIM + 4, "<h", 25, "is truncated"),
        (DATATYPE, "<h", 2, "goes on after"),  # uint8 for int16
        (DATATYPE, "<h", 16, "is truncated"),  # float32
        (DATATYPE, "<h", 1, "NIfTI's datatype 1, cannot be read here"),
        (DATATYPE, "<h", 77, "NIfTI's datatype 77, cannot be read here"),
        (DATATYPE, "<h", 32, "complex numbers"),
        (DATATYPE, "<h", 128, "is a colour image (RGB)"),
        (DATATYPE, "<h", 2304, "is a colour image (RGBA)"),
        (OFFSET, "<f", 0, "vox_offset must be a whole number of at least 352"),
        (OFFSET, "<f", 352.5, "vox_offset must be a whole number of at least 352"),
        (OFFSET, "<f", float("nan"), "vox_offset must be a whole number of at least 352"),
        (OFFSET, "<f", 1e30, "vox_offset must be a whole number of at least 352"),
        (OFFSET, "<f", 1e8, "is truncated"),
        (OFFSET, "<f", 1e11, "unpacks to 93.1 GiB"),
        (116, "<f", float("inf"), "its scl_inter is not finite"),
        (344, "<4s", b"ni1", "header of a pair of files (.hdr, .img)"),
        (344, "<4s", b"xxx", "a header of Analyze 7.5"),
    ],
)
def test_damaged_header(write, plain, offset, layout, value, message):
    plain = with_field(plain, 112, "<f", 1.0)  # a slope, so that the intercept counts
    assert message in message_of(write(with_field(plain, offset, layout, value), "a.nii"))


@pytest.mark.parametrize(("slope", "inter"), [(0.0, 7.0), (float("nan"), float("nan"))])
def test_slope_that_is_none_scales_nothing(write, plain, slope, inter):
    content = with_field(with_field(plain, 112, "<f", slope), 116, "<f", inter)
    np.testing.assert_array_equal(read_volume(write(content, "a.nii"), "W").numpy()[0], VOXELS)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.37, -12.5)])
def test_voxels_are_those_of_nibabel(tmp_path, dtype, order, scaling):
    header = nibabel.Nifti1Header(endianness=order)
    voxels = (VOXELS % 100).astype(dtype)
    image = nibabel.Nifti1Image(voxels, np.eye(4), header, dtype=voxels.dtype)
    nibabel.save(image, tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    for offset, value in zip((112, 116), scaling, strict=True):
        content = with_field(content, offset, f"{order}f", value)
    (tmp_path / "a.nii").write_bytes(content)
    oracle = np.asarray(nibabel.load(tmp_path / "a.nii").dataobj, dtype=np.float32)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii", "W").numpy()[0], oracle)


def test_end_of_line_of_nifti2(tmp_path):
    nibabel.save(nibabel.Nifti2Image(VOXELS, np.eye(4)), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(content[:8] + b"\n\n\x1a\n" + content[12:])
    assert "as by a transfer in text mode" in message_of(tmp_path / "a.nii")


OTHERS = {
    "bzip2": (b"BZh91AY&SY" + bytes(99), "is compressed with bzip2"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(99), "is compressed with Zstandard"),
    "xz": (b"\xfd7zXZ\0" + bytes(99), "is compressed with xz"),
    "zip": (b"PK\x03\x04" + bytes(99), "is a zip archive, not NIfTI; unpack it"),
    "tar": (b"folder/".ljust(257, b"\0") + b"ustar\x0000", "is a tar archive"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is a PNG picture"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "is a JPEG picture"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file"),
    "minc": (b"CDF\x01" + bytes(99), "is a NetCDF file (or MINC 1), not NIfTI; convert it"),
    "nrrd": (b"NRRD0004\ntype: short\n", "is an NRRD volume, not NIfTI; convert it"),
    "metaimage": (b"ObjectType = Image\nNDims = 3\n", "is a MetaImage volume"),
    "numpy": (b"\x93NUMPY\x01\0", "is a NumPy array, not NIfTI; an array has no geometry"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not"),
    "html": (b"<!DOCTYPE html><title>Log in", "is an HTML page, not NIfTI; download the file"),
    "text": ("Übersicht\n".encode() * 99, "is text, not NIfTI; name the volume"),
    "zeros": (bytes(9999), "begins with NUL bytes, as a crash"),
    "gzip twice": (gzip.compress(b"x" * 99), "is compressed twice; unpack it once"),
    "analyze": (struct.pack("<i", 348) + b"\xff" * 400, "is a header of Analyze 7.5"),
    "unknown": (b"\xf0\xf1\xf2" * 999, "its first bytes are of no known format"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_named(write, name):
    content, message = OTHERS[name]
    message = message.replace("is a header", "has a header")
    if name != "gzip twice":
        assert message in message_of(write(content, "a.nii"))
    assert message in message_of(write(gzip.compress(content), "a.nii.gz"))


@pytest.mark.parametrize("start", [0, 132])
@pytest.mark.parametrize("name", ["a.dcm", "IM0001"])
def test_one_dicom_file_with_its_preamble_or_without(write, start, name):
    content = Path(get_testdata_file("MR_small.dcm")).read_bytes()
    message = message_of(write(content[start:], name))
    assert message == "is one DICOM file, not NIfTI; name the folder of its series"


def test_name_that_contradicts_the_content(write, plain):
    assert message_of(write(gzip.compress(plain), "a.nii")) == "is compressed; name it .nii.gz"
    assert message_of(write(plain, "a.nii.gz")) == "is not compressed; name it .nii"


def test_what_the_system_says(tmp_path, monkeypatch):
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    assert "symbolic link to a file that is missing" in message_of(tmp_path / "lost")
    assert "leads back to itself" in message_of(tmp_path / "loop")
    assert message_of(tmp_path / "file" / "a.nii") == "there is no such file or folder"
    assert "is a device or a pipe" in message_of(tmp_path / "pipe")

    def fail(number):
        def read_nifti(*_):
            raise OSError(number, "", "/private/name")

        monkeypatch.setattr("selip_core.data.volumes.read_nifti", read_nifti)
        return message_of(tmp_path / "file")

    assert "permission denied" in fail(13)
    assert fail(5) == "the system failed to read it (Input/output error, EIO); try again"


def test_no_memory(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(b"x")

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("selip_core.data.volumes.read_nifti", fail)
    assert "needs more memory than there is" in message_of(tmp_path / "a.nii")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_header_that_claims_100_gigabytes(write, plain, pack):
    for axis, length in enumerate((3700, 3700, 3700)):
        plain = with_field(plain, DIM + 2 + 2 * axis, "<h", length)
    message = message_of(write(pack(plain), "a.nii" if pack is bytes else "a.nii.gz"))
    # 3,700 cubed voxels of int16 become float32: 4 * 50.653e9 / 2**30 = 188.7 GiB.
    assert "unpacks to 188.7 GiB, more than the limit of 2 GiB" in message
    assert "SELIP_MAX_VOLUME_GIB" in message


def test_limit_is_raised_by_setting_or_variable(write, plain, monkeypatch):
    path = write(plain, "a.nii")
    needed = VOXELS.size * 4 / GIB
    assert "more than the limit" in message_of(path, max_volume_gib=0.99 * needed)
    assert read_volume(path, "W", max_volume_gib=1.01 * needed).shape == (1, *VOXELS.shape)
    monkeypatch.setenv("SELIP_MAX_VOLUME_GIB", str(0.99 * needed))
    assert "more than the limit" in message_of(path)
    assert read_volume(path, "W", max_volume_gib=1.01 * needed).shape == (1, *VOXELS.shape)
    monkeypatch.setenv("SELIP_MAX_VOLUME_GIB", "much")
    with pytest.raises(ValueError, match="SELIP_MAX_VOLUME_GIB must be a positive number"):
        read_volume(path, "W")


def test_a_stream_that_goes_on_is_not_unpacked(write, plain):
    rest = bytearray(gzip.compress(bytes(1 << 24)))
    rest[-8] ^= 1  # a checksum that unpacking to the end would find wrong
    path = write(gzip.compress(plain) + bytes(rest))
    assert "goes on after the 15,712 bytes that its header declares" in message_of(path)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (1000.0, r"its voxels are 1e+03 x 1e+03 x 1e+03 mm large, outside 0.02 to 200 mm"),
        (0.01, "its voxels are 0.01 x 0.01 x 0.01 mm large, outside 0.02 to 200 mm"),
    ],
)
def test_voxels_of_a_metre_or_a_hundredth_of_a_millimetre(tmp_path, size, message):
    nibabel.save(nibabel.Nifti1Image(VOXELS, np.diag([size] * 3 + [1])), tmp_path / "a.nii")
    assert message in message_of(tmp_path / "a.nii")


def test_resampling_is_bounded(tmp_path):
    """At 150 mm the volume spans 2.85 x 3.45 x 2.25 m: 714 * 864 * 564 voxels of 4 mm, 1.3 GiB."""
    nibabel.save(nibabel.Nifti1Image(VOXELS, np.diag([150.0] * 3 + [1])), tmp_path / "a.nii")
    path = tmp_path / "a.nii"
    with pytest.raises(DataError, match=r"span 2\.85e\+03 x .* 1\.3 GiB at the spacing of tr"):
        Preprocessing(max_volume_gib=1)(path)
    nibabel.save(nibabel.Nifti1Image(VOXELS, np.diag([0.1] * 3 + [1])), path)
    with pytest.raises(DataError, match="one voxel at the spacing of training"):
        Preprocessing((6, 6, 6))(path)
