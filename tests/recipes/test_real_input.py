"""The MNI152 template at two spacings and pydicom's own files, in one hand-written manifest."""

import json
import math
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from pydicom.data import get_testdata_file

from selip_core.cli import main
from selip_core.data import Preprocessing, read_manifest
from selip_core.recipes.corpus import TrainingCorpus

pytest.importorskip("nilearn")

PREPROCESSING = Preprocessing((6.0, 6.0, 6.0), (32, 40, 34))
MARKS = {"left": (-30.0, 30.0, 20.0), "right": (30.0, 30.0, 20.0)}  # MNI mm: frontal, either side

# id, split, sequence, volume, report
ROWS = [
    ("t1-a", "train", "T1", "plain-2mm.nii.gz", "normal"),
    ("t1-b", "train", "T1", "left-3mm.nii.gz", "left"),
    ("t1-c", "train", "T1", "right-2mm.nii.gz", "right"),
    ("t2-a", "train", "T2", "body", "body"),
    ("ct-a", "train", "CT", "series", "calcified"),
    ("t2-b", "validation", "T2", "sagittal", "scout"),
    ("t1-d", "test", "T1", "plain-3mm.nii.gz", "normal"),
    ("t1-e", "test", "T1", "left-2mm.nii.gz", "left"),
    ("t1-f", "test", "T1", "right-3mm.nii.gz", "right"),
    ("t1-g", "test", "T1", "slice", "scout"),
    ("ct-b", "test", "CT", "abdomen", "calcified"),
]
REPORTS = {
    "normal": ("No abnormality is seen.", "颅脑未见异常。"),
    "left": ("A bright mass in the left frontal lobe.", "左侧额叶见团块状高信号。"),
    "right": ("A bright mass in the right frontal lobe.", "右侧额叶见团块状高信号。"),
    "body": ("Bright fluid on both sides.", "双侧见液体高信号。"),
    "calcified": ("Dense calcification on the right.", "右侧见致密钙化。"),
    "scout": ("Faint signal on the left.", "左侧见淡薄信号。"),
}
DICOM = {
    "slice": ["MR_small.dcm"],
    "abdomen": ["CT_small.dcm"],
    "body": ["examples_overlay.dcm"],
    "sagittal": ["dicomdirtests/98892003/MR1/15820"],
    "series": [f"dicomdirtests/98892001/CT5N/{name}" for name in (2062, 2392, 2693, 3023, 3353)],
}


def write_template(folder):
    """The template as nilearn has it, and with a bright ball of 14 mm on either side.

    At 2 mm the axes run to the right, front and top, at 3 mm to the left, back and top.
    """
    from nilearn.datasets import load_mni152_template

    for spacing, axes in ((2, "RAS"), (3, "LPS")):
        image = load_mni152_template(resolution=spacing)
        places = np.stack(np.indices(image.shape), -1) @ image.affine[:3, :3].T
        places += image.affine[:3, 3]
        for name, centre in {"plain": None, **MARKS}.items():
            voxels = image.get_fdata(dtype=np.float32)
            if centre is not None:
                voxels = np.where(np.linalg.norm(places - centre, axis=-1) < 14, 2.0, voxels)
            marked = nibabel.Nifti1Image(voxels.astype(np.float32), image.affine)
            target = nibabel.orientations.axcodes2ornt(axes)
            marked = marked.as_reoriented(
                nibabel.orientations.ornt_transform(nibabel.io_orientation(marked.affine), target)
            )
            nibabel.save(marked, folder / f"{name}-{spacing}mm.nii.gz")


def write_dicom(folder):
    shipped = Path(get_testdata_file("MR_small.dcm", download=False)).parent
    for name, files in DICOM.items():
        (folder / name).mkdir()
        for file in files:
            shutil.copy(shipped / file, folder / name)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    write_template(folder)
    write_dicom(folder)
    keys = ("id", "split", "sequence", "volume", "report")
    rows = [
        dict(zip(keys, row, strict=True)) | {"study": row[0], "patient": row[0]} for row in ROWS
    ]
    reports = [
        {"id": id, "text": text, "text_zh": text_zh, "normal": id == "normal"}
        | {"findings": [] if id == "normal" else [{"site": id, "text": text, "text_zh": text_zh}]}
        for id, (text, text_zh) in REPORTS.items()
    ]
    for name, lines in (("manifest", rows), ("reports", reports)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def bilingual_encoder(make_text_encoder):
    """A text encoder that knows every word and every character of the reports."""
    texts = " ".join(text for pair in REPORTS.values() for text in pair).lower()
    return make_text_encoder(sorted(set(re.findall(r"[a-z]+|[^\sa-z]", texts))))


def test_check_data_finds_no_error(manifest, tmp_path, capsys):
    assert main(["check-data", str(manifest), "--json", str(tmp_path / "found.json")]) == 0
    assert "manifest.jsonl: 11 rows" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["rows"]["test"] == {"T1": 4, "CT": 1}
    assert found["errors"] == 0


@pytest.mark.parametrize("side", MARKS)
def test_a_mark_lies_where_it_was_put_at_both_spacings(manifest, side):
    right, anterior, superior = MARKS[side]
    centres = []
    for spacing in (2, 3):
        image = PREPROCESSING(manifest.parent / f"{side}-{spacing}mm.nii.gz")[0]
        bright = (image > 0.98 * image.max()).nonzero().float()
        centres.append(bright.mean(0))
    torch.testing.assert_close(centres[0], centres[1], rtol=0, atol=0.5)
    # The field of the template, of voxel centres, is 188 x 232 x 196 mm around (0, -18, 22) mm.
    expected = torch.tensor([(superior - 22) / 6, (anterior + 18) / 6, right / 6])
    middle = (torch.tensor(PREPROCESSING.size) - 1) / 2
    torch.testing.assert_close(centres[0], middle + expected, rtol=0, atol=0.7)


def test_the_template_looks_the_same_at_both_spacings(manifest):
    fine, coarse = (
        PREPROCESSING(manifest.parent / f"plain-{spacing}mm.nii.gz") for spacing in (2, 3)
    )
    assert torch.corrcoef(torch.stack([fine.flatten(), coarse.flatten()]))[0, 1] > 0.97
    upside_down = torch.corrcoef(torch.stack([fine.flatten(), coarse.flip(1).flatten()]))[0, 1]
    assert upside_down < 0.9


def test_dicom_has_its_size_in_the_common_grid(manifest):
    # 300 x 484 pixels of 0.723 mm in one axial slice: 217 mm deep, 350 mm wide, cropped to 204.
    image = PREPROCESSING(manifest.parent / "body")[0]
    filled = (image > image.min()).nonzero()
    assert filled[:, 0].unique().tolist() == [15]
    assert filled[:, 1].max() - filled[:, 1].min() > 30
    assert filled[:, 2].max() - filled[:, 2].min() > 30


@pytest.mark.parametrize(("field", "side"), [("text", "left"), ("text_zh", "左")])
def test_trains_and_retrieves(manifest, make_config, bilingual_encoder, tmp_path, field, side):
    config = make_config(
        epochs=12,
        data={"text": field, "flip_probability": 0.5, "batch_size": 5, "in_memory": False}
        | {"spacing": PREPROCESSING.spacing, "size": PREPROCESSING.size},
        text_encoder={"name": bilingual_encoder},
        validate_every=12,
    )
    settings, run, cache = tmp_path / "settings.json", tmp_path / "run", tmp_path / "cache"
    settings.write_text(config.model_dump_json())
    shared = ["--manifest", str(manifest), "--cache", str(cache)]
    assert main(["pretrain", *shared, "--config", str(settings), "--out", str(run)]) == 0
    losses = [json.loads(line)["loss"] for line in (run / "history.jsonl").open()]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert len(list(cache.iterdir())) == 6  # five training volumes, one for validation

    assert main(["retrieve", *shared, "--run", str(run)]) == 0
    assert len(list(cache.iterdir())) == 11
    sequences = json.loads((run / "retrieval.json").read_text())["sequences"]
    assert sequences.keys() == {"T1", "CT"}
    forward = sequences["T1"]["abnormal"]["image_to_text"]
    assert (forward["queries"], forward["gallery"]) == (3, 3)
    assert forward["R@1"]["chance"] == pytest.approx(1 / 3)
    assert sequences["T1"]["normal"]["image_to_text"]["gallery"] == 4

    training = read_manifest(manifest).select("train")
    shown = TrainingCorpus(training, config.data, config.seed).texts
    assert sum(side in text for text in shown) == 3  # one as written, two mirrored
