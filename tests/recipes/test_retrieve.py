import json
import re

import pytest
import torch

from selip_core.cli import main
from selip_core.data import read_manifest
from selip_core.recipes import load_model, retrieval_table, retrieve
from selip_core.recipes.galleries import sequence_galleries
from selip_core.recipes.ranking import rank
from selip_core.recipes.retrieval_summary import nearest_reports, summarise
from selip_core.recipes.texts import TextFeatures


@pytest.fixture(scope="module")
def run(manifest, text_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = folder / "settings.json"
    values = {
        "epochs": 1,
        "embed_dim": 8,
        "data": {"spacing": [8, 8, 8], "size": [16, 16, 16], "batch_size": 6},
        "image_encoder": {"name": "resnet10", "options": {"width": 0.125, "stem": "cubic"}},
        "text_encoder": {"name": text_encoder},
    }
    config.write_text(json.dumps(values))
    out = folder / "run"
    arguments = ["pretrain", "--manifest", str(manifest), "--config", str(config)]
    assert main([*arguments, "--out", str(out)]) == 0
    return out


def test_galleries_hold_each_distinct_report_once(manifest):
    t2, dwi = sequence_galleries(read_manifest(manifest))
    assert (t2.sequence, dwi.sequence) == ("T2", "DWI")
    # Site and side repeat with period 6, a third is normal: four abnormal reports, one normal.
    assert len(t2.queries) == 20
    assert len(t2.entries) == 5
    assert len(t2.abnormal().entries) == 4
    assert t2.abnormal().queries == tuple(row for row in t2.queries if row in t2.abnormal().queries)


def perfect_features(manifest):
    """Equal one-hot features for equal reports, normal ones included."""
    features = torch.zeros(len(manifest), len(manifest))
    for gallery in sequence_galleries(manifest):
        for row, label in zip(gallery.queries, gallery.labels, strict=True):
            features[row, gallery.entries[gallery.entry_labels.index(label)]] = 1
    return features


def test_a_perfect_model_is_measured_as_such(manifest):
    rows = read_manifest(manifest)
    features = perfect_features(rows)
    rankings = [
        rank(gallery, rows, features, features, None) for gallery in sequence_galleries(rows)
    ]
    summary = summarise(rankings)
    forward = summary["abnormal"]["image_to_text"]
    assert forward["R@1"] == {"value": 1, "low": 1, "high": 1, "chance": forward["R@1"]["chance"]}
    assert forward["queries"] == 14 + 7
    # T2 has 14 abnormal volumes on 4 reports, DWI 7 on 2.
    assert forward["gallery"] == round((14 * 4 + 7 * 2) / 21, 1)
    assert forward["R@1"]["chance"] == pytest.approx((14 / 4 + 7 / 2) / 21)
    assert summary["abnormal"]["text_to_image"]["R@1"]["value"] == 1
    assert summary["normal"]["image_to_text"]["R@1"]["value"] == 1
    assert summary["normal"]["normal_against_abnormal"]["value"] == 1
    assert "nDCG@10" not in forward
    example = nearest_reports(rankings, rows, 3)[1]
    assert [entry["true"] for entry in example["nearest"]].count(True) == 1
    assert example["nearest"][0]["true"]
    assert example["nearest"][0]["cosine"] == 1


def test_a_blind_model_gets_nothing(manifest):
    rows = read_manifest(manifest)
    features = torch.ones(len(rows), 1)
    gallery = sequence_galleries(rows)[0]
    summary = summarise([rank(gallery, rows, features, features, None)])
    assert summary["abnormal"]["image_to_text"]["R@1"]["value"] == 0
    assert summary["normal"]["normal_against_abnormal"]["value"] == 0.5


def test_a_run_is_measured(manifest, run, capsys):
    assert main(["retrieve", "--manifest", str(manifest), "--run", str(run)]) == 0
    table = capsys.readouterr().out
    result = json.loads((run / "retrieval.json").read_text())
    assert retrieval_table(result) in table
    assert re.search(r"^T2 +abnormal volume -> report +R@1 .* 0\.\d+ - [01]\.\d+", table, re.M)
    assert result["split"] == "test"
    assert result["sequences"].keys() == {"T2", "DWI"}
    forward = result["pooled"]["abnormal"]["image_to_text"]
    assert {f"R@{k}" for k in range(1, 11)} | {"nDCG@10"} <= forward.keys()
    for figure in (forward["R@1"], forward["nDCG@10"]):
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert "lobe" not in json.dumps(result)


def test_a_loaded_model_gives_the_features_of_its_parts(run, manifest):
    model, _ = load_model(run / "model")
    texts = ["high signal in the left pons.", "no lesion."]
    with torch.no_grad():
        torch.testing.assert_close(TextFeatures(model, texts)(texts), model.encode_text(texts))


def test_an_unfinished_run_is_refused(manifest, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no finished model; run 'selip pretrain'"):
        retrieve(manifest, tmp_path)


def test_a_study_without_truth_is_told(manifest, run, tmp_path):
    for path in manifest.parent.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "truth.jsonl").unlink()
    (tmp_path / "truth.jsonl").write_text('{"study": "s19", "lesions": []}\n')
    with pytest.raises(ValueError, match=r"\$\.study: this study is not in truth.jsonl"):
        retrieve(tmp_path / manifest.name, run, progress=False)


def test_a_split_without_rows_is_refused(manifest, run, tmp_path):
    text = manifest.read_text().replace('"test"', '"train"')
    (tmp_path / "manifest.jsonl").write_text(text)
    (tmp_path / "reports.jsonl").symlink_to(manifest.parent / "reports.jsonl")
    with pytest.raises(ValueError, match="has no test rows"):
        retrieve(tmp_path / "manifest.jsonl", run, progress=False)
