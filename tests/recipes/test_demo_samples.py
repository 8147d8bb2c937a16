import nibabel
import numpy as np
import pytest

from selip_core.data import ManifestRow, read_manifest, write_manifest
from selip_core.evaluation import Lesion
from selip_core.findings import Report, write_reports
from selip_core.recipes.demo_samples import sample_study

LESION = Lesion("acute infarct", "pons", "left", 2.0, frozenset({"T2"}), label=1)


def write_study(folder, orientation):
    """One study of two sequences with a lesion in the left half, stored in an orientation."""
    folder.mkdir()
    volume, mask = np.zeros((16, 18, 12), np.int16), np.zeros((16, 18, 12), np.uint8)
    volume[2:14, 2:16, 1:11] = np.arange(12)[:, None, None] * 10 + 50
    mask[3:7, 12:15, 4] = 1
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-30, -40, -20)
    axes = nibabel.orientations.axcodes2ornt(orientation)
    for name, array in (("T2", volume), ("DWI", volume), ("lesions", mask)):
        image = nibabel.Nifti1Image(array, affine).as_reoriented(axes)
        nibabel.save(image, folder / f"{name}.nii.gz")
    rows = [
        ManifestRow(
            id=name,
            study="s",
            patient="p",
            split="test",
            sequence=name,
            volume=f"{name}.nii.gz",
            report="r",
            mask="lesions.nii.gz",
        )
        for name in ("T2", "DWI")
    ]
    write_manifest(folder / "manifest.jsonl", rows)
    write_reports(folder / "reports.jsonl", [Report(id="r", text="High.", text_zh="高信号。")])
    return read_manifest(folder / "manifest.jsonl")


@pytest.mark.parametrize("orientation", ["RAS", "PIL"])
def test_a_study_is_told_whatever_its_orientation_in_the_file(tmp_path, orientation):
    manifest = write_study(tmp_path / "data", orientation)
    sample = sample_study(manifest, {"s": [LESION]}, "s")
    expected = sample_study(write_study(tmp_path / "ras", "RAS"), {"s": [LESION]}, "s")
    assert sample.slice_mm == -4.0
    assert sample.lesions == [("acute infarct, left pons, 2.0 ml", True)]
    assert sample.images == expected.images
    assert [picture.alt for _, picture in sample.images] == [
        "T2 of s, axial slice with 1 lesions that it shows",
        "DWI of s, axial slice with 0 lesions that it shows",
    ]
    assert (sample.reports[0].english, sample.reports[0].chinese) == ("High.", "高信号。")
