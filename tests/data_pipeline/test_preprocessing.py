import shutil

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from pydicom.data import get_testdata_file

from selip_core.data import Preprocessing, preprocessing
from selip_core.errors import DataError


def reorient(image, axes):
    change = ornt_transform(io_orientation(image.affine), axcodes2ornt(axes))
    return image.as_reoriented(change)


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (6.0, 5.0, 4.0)])
def test_left_and_right_cannot_be_confused(tmp_path, phantom, spacing):
    preprocess = Preprocessing(spacing=spacing, size=(28, 36, 34))
    images = {}
    for axes in ["RAS", "LAS", "LPS", "RPI", "PSR", "ASL", "SRA"]:
        nibabel.save(reorient(phantom, axes), tmp_path / f"{axes}.nii.gz")
        images[axes] = preprocess(tmp_path / f"{axes}.nii.gz")
    for image in images.values():
        assert torch.equal(image, images["RAS"])
    assert images["RAS"].shape == (1, 28, 36, 34)
    assert images["RAS"].dtype == torch.float32


def test_axes_run_up_forward_and_right(tmp_path, phantom):
    nibabel.save(reorient(phantom, "LPS"), tmp_path / "a.nii.gz")
    image = Preprocessing(size=(32, 36, 30))(tmp_path / "a.nii.gz")[0]
    depth, height, width = np.unravel_index(int(image.argmax()), image.shape)
    # The brightest block of the phantom: right, back, low; voxels 18:24, 8:14, 8:14 in RAS.
    assert 8 <= depth < 14
    assert 8 <= height < 14
    assert 18 <= width < 24


def test_foreground_has_zero_mean_and_unit_variance_and_padding_is_background(tmp_path, phantom):
    nibabel.save(phantom, tmp_path / "a.nii.gz")
    image = Preprocessing(size=(40, 36, 30), percentiles=(0.0, 100.0))(tmp_path / "a.nii.gz")
    inside = image[:, 4:36]
    foreground = inside[inside > inside.mean()]
    assert abs(float(foreground.mean())) < 1e-4
    assert abs(float(foreground.std()) - 1) < 1e-3
    assert torch.all(image[:, :4] == inside.min())
    assert torch.all(image[:, 36:] == inside.min())


def test_intensity_unit_does_not_matter(tmp_path, phantom):
    nibabel.save(phantom, tmp_path / "a.nii.gz")
    other = nibabel.Nifti1Image(phantom.get_fdata() * 1000 + 50, phantom.affine)
    nibabel.save(other, tmp_path / "b.nii.gz")
    preprocess = Preprocessing()
    torch.testing.assert_close(
        preprocess(tmp_path / "a.nii.gz"), preprocess(tmp_path / "b.nii.gz"), atol=1e-3, rtol=0
    )


def test_percentiles_clip_outliers(tmp_path, phantom):
    voxels = phantom.get_fdata()
    voxels[15, 18, 16] = 50.0
    nibabel.save(nibabel.Nifti1Image(voxels, phantom.affine), tmp_path / "a.nii.gz")
    image = Preprocessing(percentiles=(0.5, 99.5))(tmp_path / "a.nii.gz")
    assert float(image.max()) < 15
    assert float(Preprocessing(percentiles=(0, 100))(tmp_path / "a.nii.gz").max()) > 50


def test_coarser_spacing_does_not_alias(tmp_path):
    """A grating of 2 mm period must vanish at 4 mm, not become stripes of another period."""
    voxels = np.zeros((64, 64, 64), dtype=np.float32)
    voxels[16:48, 16:48, 16:48] = 1.0 + (np.arange(32) % 2)[:, None, None]
    voxels[16:24, 16:24, 16:24] = 3.0  # so that contrast is left
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    image = Preprocessing(size=(16, 16, 16), percentiles=(0, 100))(tmp_path / "a.nii.gz")[0]
    grating = image[8, 8, 6:10]
    assert float(grating.std()) < 0.1 * float(image.std())


def test_dicom_folder(tmp_path):
    (tmp_path / "s").mkdir()
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "s")
    image = Preprocessing(spacing=(0.8, 0.3125, 0.3125), size=(1, 64, 64))(tmp_path / "s")
    assert image.shape == (1, 1, 64, 64)
    assert image.isfinite().all()


def test_mni_template_at_two_spacings_agrees(tmp_path):
    datasets = pytest.importorskip("nilearn.datasets")
    preprocess = Preprocessing()
    images = []
    for resolution in (2, 3):
        path = tmp_path / f"{resolution}.nii.gz"
        nibabel.save(datasets.load_mni152_template(resolution=resolution), path)
        images.append(preprocess(path))
    assert float(torch.corrcoef(torch.stack([image.flatten() for image in images]))[0, 1]) > 0.95


def test_mask_instead_of_a_volume(tmp_path):
    voxels = np.zeros((10, 10, 10), dtype=np.uint8)
    voxels[:5] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    preprocess = Preprocessing(spacing=(1, 1, 1))
    with pytest.raises(DataError, match=r"m\.jsonl:3 \$\.volume: has at most two values .* mask"):
        preprocess(tmp_path / "a.nii.gz", "m.jsonl:3 $.volume")


def test_error_names_the_path_that_the_caller_gave(tmp_path):
    with pytest.raises(DataError, match=r"none\.nii\.gz: there is no such file"):
        Preprocessing()(tmp_path / "none.nii.gz")


def test_lists_of_a_configuration_file_are_taken():
    assert Preprocessing(spacing=[2.0, 2.0, 2.0]) == Preprocessing(spacing=(2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spacing": (4.0, 0.0, 4.0)}, "spacing must be three positive lengths in mm"),
        ({"spacing": (4.0, 4.0)}, "spacing must be three"),
        ({"spacing": 4.0}, r"spacing must be three numbers in .* depth, height, width, got 4\.0"),
        ({"size": 48}, "size must be three numbers in the order depth, height, width, got 48"),
        ({"percentiles": 99.0}, "percentiles must be two numbers, lower and upper, got 99"),
        ({"size": (48, -1, 48)}, "size must be three positive"),
        ({"size": (48.0, 56.0, 48.0)}, "size must be whole numbers"),
        ({"percentiles": (99.0, 1.0)}, "percentiles must rise"),
        ({"geometry": "header"}, "geometry must be one of"),
        ({"max_volume_gib": 0.0}, "max_volume_gib must be a positive number of GiB"),
    ],
)
def test_wrong_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


def test_chosen_form_decides(tmp_path, phantom):
    image = nibabel.Nifti1Image(phantom.get_fdata(dtype=np.float32), phantom.affine)
    image.set_qform(reorient(phantom, "LAS").affine, 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="left and right are in doubt"):
        Preprocessing()(tmp_path / "a.nii.gz")
    sform, qform = (
        Preprocessing(size=(32, 36, 30), geometry=form)(tmp_path / "a.nii.gz")
        for form in ("sform", "qform")
    )
    torch.testing.assert_close(sform, qform.flip(-1))


@pytest.mark.parametrize("factors", [[4.0, 1.0, 2.5], [1.0, 3.0, 1.0]])
def test_smoothing_in_slabs_gives_the_same(monkeypatch, factors):
    image = torch.rand(1, 40, 30, 50, generator=torch.Generator().manual_seed(0))
    whole = preprocessing._smooth(image, factors)
    monkeypatch.setattr(preprocessing, "_SLAB", 7000)
    torch.testing.assert_close(preprocessing._smooth(image, factors), whole, atol=1e-6, rtol=0)


def test_whatever_fails_is_an_error_of_the_volume(tmp_path, phantom, monkeypatch):
    nibabel.save(phantom, tmp_path / "a.nii.gz")

    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(preprocessing, "_smooth", fail)
    with pytest.raises(DataError, match="m:1: needs more memory than there is"):
        Preprocessing()(tmp_path / "a.nii.gz", "m:1")


def test_a_bug_in_preprocessing_is_not_blamed_on_the_file(tmp_path, phantom, monkeypatch):
    def fail(image, percentiles):
        raise TypeError("jane")

    nibabel.save(phantom, tmp_path / "t2.nii.gz")
    monkeypatch.setattr("selip_core.data.preprocessing._scale", fail)
    with pytest.raises(DataError) as caught:
        Preprocessing()(tmp_path / "t2.nii.gz", "m.jsonl:1")
    (problem,) = caught.value.problems
    assert problem.message == (
        "was read, but cannot be preprocessed (TypeError), probably by a bug in selip-core: please "
        "report the type"
    )
