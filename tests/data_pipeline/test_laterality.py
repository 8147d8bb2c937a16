import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selip_core.data import LateralityFlip, Preprocessing, flip_image, flip_laterality, flipped_id
from selip_core.findings import Finding, Report

PIECES = [
    *["left", "Left", "LEFT", "right", "Right", "RIGHT", "LeFt", "左", "右", "左右", "双侧"],
    *[
        "cleft",
        "bright",
        "wards",
        "-sided",
        "L",
        "R",
        " ",
        "_",
        "额叶",
        ".",
        "é",
        "\u202e",
        "~flipped",
    ],
]
texts = st.one_of(st.text(max_size=20), st.lists(st.sampled_from(PIECES)).map("".join))
findings = st.builds(
    Finding, site=texts, laterality=texts | st.none(), morphology=texts, text=texts, note=texts
)
reports = st.builds(
    Report,
    id=texts.filter(bool),
    findings=st.lists(findings, max_size=3).map(tuple),
    text=texts | st.none(),
    text_zh=texts,
    notes=st.lists(texts, max_size=2),
)


@given(reports)
def test_twice_is_the_same(report):
    flipped = flip_laterality(report)
    assert flipped.id != report.id
    assert flip_laterality(flipped) == report


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("left frontal lobe", "right frontal lobe"),
        ("Left and RIGHT", "Right and LEFT"),
        ("right-sided, leftward shift", "left-sided, rightward shift"),
        ("left_frontal", "right_frontal"),
        ("Leftmost.", "Rightmost."),
        ("left额叶", "right额叶"),
        ("cleft palate, bright signal, upright", "cleft palate, bright signal, upright"),
        ("leftover, righteous", "leftover, righteous"),
        ("左侧额叶,右顶叶", "右侧额叶,左顶叶"),
        ("双侧", "双侧"),
        ("约3cm左右", "约3cm左右"),
        ("左、右侧脑室", "右、左侧脑室"),
        ("bilateral", "bilateral"),
        ("", ""),
    ],
)
def test_words(text, expected):
    assert flip_laterality(Report(id="a", text=text)).text == expected


def test_every_string_of_a_report_is_swapped():
    finding = Finding(
        site="right thalamus", laterality="L", morphology="left-sided", extent="3 mm", words=["左"]
    )
    report = Report(id="left", findings=(finding,), normal=False, text=None, text_zh="左", age=3)
    flipped = flip_laterality(report)
    assert flipped.findings[0].model_dump(exclude_unset=True) == {
        "site": "left thalamus",
        "laterality": "R",
        "morphology": "right-sided",
        "extent": "3 mm",
        "words": ["右"],
    }
    assert (flipped.id, flipped.normal, flipped.text, flipped.text_zh, flipped.age) == (
        *("left~flipped", False, None),
        *("右", 3),
    )


@pytest.mark.parametrize("id", ["a", "~flipped", "a~flipped~flipped", "~flipped~flipped", "~"])
def test_flipped_id_twice_is_the_id(id):
    assert flipped_id(id) != id
    assert flipped_id(flipped_id(id)) == id


def test_flipped_image_is_the_image_of_a_mirrored_head(tmp_path, phantom):
    import nibabel

    affine = phantom.affine.copy()
    affine[0, 0], affine[0, 3] = -affine[0, 0], -affine[0, 3]  # x becomes -x in the scanner
    nibabel.save(phantom, tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(phantom.get_fdata(), affine), tmp_path / "b.nii.gz")
    preprocess = Preprocessing(size=(32, 36, 30))
    mirrored = preprocess(tmp_path / "b.nii.gz")
    torch.testing.assert_close(flip_image(preprocess(tmp_path / "a.nii.gz")), mirrored)


def test_choice_depends_on_seed_epoch_and_index_alone():
    flip = LateralityFlip(probability=0.5, seed=3)
    images = torch.randn(200, 1, 2, 2, 4)
    mirrored, flipped = flip(images, torch.arange(200), epoch=1)
    assert 70 < int(flipped.sum()) < 130
    torch.testing.assert_close(mirrored[flipped], images[flipped].flip(-1))
    torch.testing.assert_close(mirrored[~flipped], images[~flipped])
    order = torch.randperm(200)
    assert torch.equal(flip(images[order], order, epoch=1)[1], flipped[order])
    assert not torch.equal(flip(images, torch.arange(200), epoch=2)[1], flipped)
    other = LateralityFlip(probability=0.5, seed=4)
    assert not torch.equal(other(images, torch.arange(200), epoch=1)[1], flipped)


def test_probability_out_of_range():
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\], got 2"):
        LateralityFlip(probability=2)
