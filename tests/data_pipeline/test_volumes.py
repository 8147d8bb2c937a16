import gzip

import nibabel
import numpy as np
import pytest
import torch

from selip_core.data import read_volume
from selip_core.errors import DataError

WHERE = "manifest.jsonl:12 $.volume"


def message_of(path):
    with pytest.raises(DataError) as caught:
        read_volume(path, WHERE)
    (problem,) = caught.value.problems
    assert problem.where == WHERE
    assert str(path) not in str(caught.value)
    return problem.message


def save(path, voxels, affine=None, **header):
    image = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def noise(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_nifti_is_scaled_once(tmp_path):
    raw = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    save(tmp_path / "a.nii", raw)
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[112:120] = np.array([2.0, 10.0], dtype="<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(content)
    scaled = read_volume(tmp_path / "a.nii", WHERE).as_tensor()
    torch.testing.assert_close(scaled[0], torch.from_numpy(raw * 2.0 + 10.0).float())


def test_big_endian_and_trailing_axis(tmp_path):
    voxels = noise(3, 4, 5)
    image = nibabel.Nifti1Image(
        voxels[..., None], np.diag([1.0, 2.0, 3.0, 1.0]), nibabel.Nifti1Header(endianness=">")
    )
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii", WHERE)
    torch.testing.assert_close(volume.as_tensor(), torch.from_numpy(voxels)[None])
    assert volume.pixdim.tolist() == [1.0, 2.0, 3.0]


def test_missing(tmp_path):
    assert message_of(tmp_path / "none.nii.gz") == "there is no such file or folder"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(tmp_path, share):
    path = save(tmp_path / "a.nii.gz", noise(20, 20, 20))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "is truncated: its gzip stream stops before its end" in message_of(path)


def test_truncated_without_compression(tmp_path):
    path = save(tmp_path / "a.nii", noise(20, 20, 20))
    path.write_bytes(path.read_bytes()[:5000])
    assert "header declares 32,352 bytes, there are 5,000" in message_of(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty (0 bytes)"),
        (b"not a volume", "is text, not NIfTI"),
        (gzip.compress(b"not a volume" * 99, mtime=0), "is text, not NIfTI"),
        (bytes(range(100, 256)) * 9, "neither NIfTI nor a DICOM folder"),
    ],
)
def test_other_content(tmp_path, content, message):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    assert message in message_of(path)


def test_other_format(tmp_path):
    nibabel.save(nibabel.MGHImage(noise(3, 4, 5), np.eye(4)), tmp_path / "a.mgz")
    assert "is a FreeSurfer volume (MGH), not NIfTI" in message_of(tmp_path / "a.mgz")


def test_four_dimensions(tmp_path):
    message = message_of(save(tmp_path / "a.nii.gz", noise(4, 4, 4, 3)))
    assert message.startswith("expected one 3D volume, got 4D of shape (4, 4, 4, 3)")


def test_two_dimensions(tmp_path):
    assert "got 2D of shape (4, 4)" in message_of(save(tmp_path / "a.nii.gz", noise(4, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path, value):
    voxels = noise(4, 4, 4)
    voxels[0, 0, :2] = value
    assert "2 of 64 voxels are NaN or infinite" in message_of(save(tmp_path / "a.nii", voxels))


def test_constant(tmp_path):
    path = save(tmp_path / "a.nii", np.full((4, 4, 4), 7.0, dtype=np.float32))
    assert "all voxels have one value" in message_of(path)


def test_unset_orientation(tmp_path):
    nibabel.save(nibabel.Nifti1Image(noise(4, 4, 4), None), tmp_path / "a.nii")
    assert "left and right are unknown" in message_of(tmp_path / "a.nii")


def test_contradicting_orientations(tmp_path):
    image = nibabel.Nifti1Image(noise(4, 4, 4), np.eye(4))
    image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "a.nii")
    assert "left and right are in doubt" in message_of(tmp_path / "a.nii")


def test_other_units(tmp_path):
    image = nibabel.Nifti1Image(noise(4, 4, 4), np.eye(4))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    assert "expected lengths in mm, got the unit metre" in message_of(tmp_path / "a.nii")


def test_singular_affine(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nibabel.save(nibabel.Nifti1Image(noise(4, 4, 4), None, header), tmp_path / "a.nii")
    assert "affine is singular" in message_of(tmp_path / "a.nii")
