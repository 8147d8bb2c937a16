import gzip
import shutil

import nibabel
import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.data import get_testdata_file

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


def series(folder, positions, **tags):
    """Write pydicom's MR slice once per position along its normal, in scanner order."""
    folder.mkdir()
    for number, position in enumerate(positions):
        dataset = dcmread(get_testdata_file("MR_small.dcm"))
        dataset.ImagePositionPatient = [-83.9, -91.2, position]
        dataset.InstanceNumber = number + 1
        for keyword, values in tags.items():
            setattr(dataset, keyword, values[number])
        dataset.save_as(folder / f"{len(positions) - number}.dcm")
    return folder


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
        (b"not a volume", "is a text, not NIfTI"),
        (gzip.compress(b"not a volume" * 99, mtime=0), "is a text, not NIfTI"),
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


def test_dicom_series_lies_where_its_tags_say(tmp_path):
    folder = series(tmp_path / "s", [0.0, 2.5, 5.0, 7.5])
    volume = read_volume(folder, WHERE)
    assert volume.shape == (1, 64, 64, 4)
    # Columns of the slice run to the patient's left and rows to the back: both negative in RAS.
    expected = [[-0.3125, 0, 0, 83.9], [0, -0.3125, 0, 91.2], [0, 0, 2.5, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(volume.affine, torch.tensor(expected, dtype=torch.float64))
    pixels = dcmread(get_testdata_file("MR_small.dcm")).pixel_array.T.astype(np.float32)
    torch.testing.assert_close(volume.as_tensor()[0, :, :, 2], torch.from_numpy(pixels))


def test_dicom_is_rescaled_once(tmp_path):
    (tmp_path / "s").mkdir()
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "s")
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    volume = read_volume(tmp_path / "s", WHERE).as_tensor()
    hounsfield = dataset.pixel_array.T.astype(np.float32) + float(dataset.RescaleIntercept)
    torch.testing.assert_close(volume[0, :, :, 0], torch.from_numpy(hounsfield))


def test_single_sagittal_slice_has_its_own_normal(tmp_path):
    folder = series(
        tmp_path / "s", [0.0], ImageOrientationPatient=[[0, 1, 0, 0, 0, -1]], SliceThickness=[4.0]
    )
    affine = read_volume(folder, WHERE).affine
    # Columns run back (LPS y), rows down; their cross product (-1, 0, 0) in LPS is right in RAS.
    torch.testing.assert_close(affine[:3, 2], torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("positions", "tags", "message"),
    [
        ([0, 2, 6, 8], {}, "not evenly spaced"),
        ([0, 2, 2, 4], {}, "not evenly spaced"),
        ([0, 4, 2, 6], {}, "not evenly spaced"),
        ([0, 2], {"SeriesInstanceUID": ["1.2", "1.3"]}, "slices differ in SeriesInstanceUID"),
        ([0, 2], {"PixelSpacing": [[1, 1], [2, 2]]}, "slices differ in PixelSpacing"),
        ([0, 2], {"InstanceNumber": [None, 1]}, "a slice has no InstanceNumber"),
        ([0, 2], {"ImageOrientationPatient": [None, None]}, "no ImageOrientationPatient"),
        ([0, 2], {"SamplesPerPixel": [3, 3]}, "expected one grey channel"),
        ([0], {"SliceThickness": [None], "SpacingBetweenSlices": [None]}, "without SliceThickness"),
    ],
)
def test_series_that_monai_would_stack_wrongly(tmp_path, positions, tags, message):
    assert message in message_of(series(tmp_path / "s", positions, **tags))


def test_multi_frame_dicom(tmp_path):
    (tmp_path / "s").mkdir()
    shutil.copy(get_testdata_file("liver_1frame.dcm"), tmp_path / "s")
    assert "convert the series to NIfTI" in message_of(tmp_path / "s")


def test_truncated_dicom(tmp_path):
    (tmp_path / "s").mkdir()
    shutil.copy(get_testdata_file("MR_truncated.dcm"), tmp_path / "s")
    assert "truncated, damaged" in message_of(tmp_path / "s")


def test_folder_without_dicom(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("x")
    assert "expected a folder with DICOM files" in message_of(tmp_path / "s")


def test_folder_name_that_monai_takes_for_a_pattern(tmp_path):
    folder = series(tmp_path / "s[1]", [0.0, 1.0])
    assert "folder names must not hold '['" in message_of(folder)
