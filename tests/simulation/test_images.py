"""What the images show, against the truth: contrast of tissue, signs of lesions, sides."""

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from selip_core.simulation.contrast import SEQUENCES
from selip_core.simulation.kinds import KINDS
from selip_core.simulation.lesions import Lesion
from selip_core.simulation.parameters import Parameters
from selip_core.simulation.patients import schedule_visits
from selip_core.simulation.sites import SITES
from selip_core.simulation.study import simulate_study

STAGES = [(kind, stage) for kind in KINDS.values() for stage in kind.stages]


def study_with(monkeypatch, *lesions, spacing=4.0):
    monkeypatch.setattr("selip_core.simulation.study.draw_lesions", lambda *_: list(lesions))
    parameters = Parameters(seed=5, spacing=spacing)
    return simulate_study(schedule_visits(parameters, 1)[0], parameters)


def lesion(kind, stage, site="centrum semiovale", laterality="right"):
    morphology = next(iter(kind.morphologies))
    return Lesion(kind, stage, SITES[site], laterality, morphology, radius=11.0)


def test_tissue_has_the_contrast_of_each_sequence(monkeypatch):
    study = study_with(monkeypatch)
    t1, t2, flair, dwi, adc = (study.volumes[name].astype(float) for name in SEQUENCES)
    deep = ndimage.binary_erosion(t1 > 0, iterations=2)
    fluid = deep & (adc > 1800)
    # Without lesions T1 orders the tissues, so its own tails are white and grey matter.
    inside = deep & (adc < 1000)
    low, high = np.percentile(t1[inside], [25, 75])
    grey, white = inside & (t1 < low), inside & (t1 > high)
    assert white.sum() > 100
    assert fluid.sum() > 20
    assert t1[white].mean() > t1[grey].mean() > t1[fluid].mean()
    assert t2[fluid].mean() > t2[grey].mean() > t2[white].mean()
    assert flair[grey].mean() > flair[white].mean() > 1.6 * flair[fluid].mean()
    assert dwi[grey].mean() > dwi[white].mean() > 1.6 * dwi[fluid].mean()
    assert adc[fluid].mean() > 2 * adc[grey].mean()


@pytest.mark.parametrize(
    ("kind", "stage"), STAGES, ids=[f"{kind.name}-{stage.name}" for kind, stage in STAGES]
)
def test_lesions_show_their_sign_in_each_sequence(monkeypatch, kind, stage):
    study = study_with(monkeypatch, lesion(kind, stage))
    body = study.mask == 1
    far = ndimage.binary_dilation(body, iterations=6)
    ring = far & ~ndimage.binary_dilation(body, iterations=4)
    for name in SEQUENCES:
        volume = study.volumes[name].astype(float)
        around = np.median(volume[ring & (study.volumes["ADC"] < 1100) & (volume > 0)])
        ratio = volume[body].mean() / around
        word = stage.signals.get(name)
        if word in ("high", "slightly high"):
            assert ratio > 1.1, (name, ratio)
        elif word in ("low", "slightly low"):
            assert ratio < 0.92, (name, ratio)
        elif word == "mixed":
            assert volume[body].std() > 0.25 * around, name
        else:
            assert 0.85 < ratio < 1.15, (name, ratio)


def test_an_acute_infarct_stands_out_as_radiology_teaches():
    signals = next(
        stage for stage in KINDS["acute infarct"].stages if stage.name == "acute"
    ).signals
    assert signals == {"T1": "low", "T2": "high", "FLAIR": "high", "DWI": "high", "ADC": "low"}


@pytest.mark.parametrize(("laterality", "sign"), [("left", -1), ("right", 1)])
def test_left_is_negative_x(monkeypatch, laterality, sign):
    kind = KINDS["haemorrhage"]
    study = study_with(
        monkeypatch, lesion(kind, kind.stages[0], "temporal lobe", laterality), spacing=8.0
    )
    assert sign * study.truth["lesions"][0]["centre_mm"][0] > 25
    assert study.reports["T2"].findings[0].laterality == laterality


def test_bilateral_lesions_lie_on_both_sides(monkeypatch):
    kind = KINDS["haemorrhage"]
    study = study_with(monkeypatch, lesion(kind, kind.stages[0], "temporal lobe", "bilateral"))
    x = nibabel.affines.apply_affine(study.grid.affine, np.argwhere(study.mask == 1))[:, 0]
    assert x.min() < -25
    assert x.max() > 25


def test_files_agree_with_the_truth(small_set):
    checked = 0
    for study, truth in small_set.truth.items():
        image = nibabel.load(small_set.out / "volumes" / study / "lesions.nii.gz")
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        labels = np.asarray(image.dataobj)
        assert set(np.unique(labels)) - {0} == {one["label"] for one in truth["lesions"]}
        for one in truth["lesions"]:
            index = np.argwhere(labels == one["label"])
            assert len(index) * 8**3 / 1000 == pytest.approx(one["volume_ml"])
            centre = nibabel.affines.apply_affine(image.affine, index).mean(axis=0)
            np.testing.assert_allclose(centre, one["centre_mm"], atol=0.06)
            checked += 1
    assert checked > 20


def test_volumes_are_small_finite_and_marked(small_set):
    row = small_set.manifest.rows[0]
    image = nibabel.load(small_set.out / row.volume)
    assert image.get_data_dtype() == np.int16
    assert image.shape == (24, 28, 24)
    assert bytes(image.header["descrip"].item()).startswith(b"simulated data")
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.header.get_qform(), image.affine)
    values = np.asarray(image.dataobj)
    assert values.min() >= 0
    assert 0.1 < (values > 0).mean() < 0.5
