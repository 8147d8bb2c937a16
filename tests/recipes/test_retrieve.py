import dataclasses
import json
import re

import pytest
import torch

from selip_core.cli import main
from selip_core.data import read_manifest
from selip_core.evaluation import read_truth
from selip_core.recipes import compare, load_model, retrieve
from selip_core.recipes.galleries import sequence_galleries
from selip_core.recipes.ranking import rank
from selip_core.recipes.retrieval_comparison import (
    Pseudonyms,
    abnormal_queries,
    write_queries,
)
from selip_core.recipes.retrieval_summary import nearest_reports, summarise
from selip_core.recipes.texts import TextFeatures
from selip_core.report import retrieval_table


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
    arguments = ["retrieve", "--manifest", str(manifest), "--run", str(run), "--examples", "2"]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    result = json.loads((run / "retrieval.json").read_text())
    assert retrieval_table({"value (95 % interval)": result}) in table
    assert re.search(r"^T2, abnormal volume -> report, \d queries, gallery of \d$", table, re.M)
    assert re.search(r"^R@1 +[01]\.\d+ \(0\.\d+ - [01]\.\d+\) +0\.\d+$", table, re.M)
    assert len(result["examples"]) == 2
    assert result["split"] == "test"
    assert result["sequences"].keys() == {"T2", "DWI"}
    forward = result["pooled"]["abnormal"]["image_to_text"]
    assert {f"R@{k}" for k in range(1, 11)} | {"nDCG@10"} <= forward.keys()
    for figure in (forward["R@1"], forward["nDCG@10"]):
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert "lobe" not in json.dumps(result)
    assert result["sequences"]["T2"]["abnormal"]["image_to_text"]["kind@1"]["chance"] == 1
    # The truth has no lesion that DWI shows, though reports speak of some.
    assert "kind@1" not in result["sequences"]["DWI"]["abnormal"]["image_to_text"]


def measured_run(folder, manifest, rankings):
    folder.mkdir()
    write_queries(folder / "retrieval_queries.jsonl", abnormal_queries(rankings, manifest))
    return folder


def test_two_runs_are_compared_query_by_query(manifest, tmp_path):
    rows = read_manifest(manifest)
    truth = read_truth(manifest.with_name("truth.jsonl"))
    galleries = sequence_galleries(rows)
    perfect, blind = perfect_features(rows), torch.ones(len(rows), 1)
    good, bad = (
        measured_run(
            tmp_path / name,
            rows,
            [rank(gallery, rows, features, features, truth) for gallery in galleries],
        )
        for name, features in (("good", perfect), ("bad", blind))
    )
    gains = compare(good, bad)
    assert gains["image_to_text"]["R@1"] == {"value": 1, "low": 1, "high": 1}
    gain, back = gains["text_to_image"]["nDCG@10"], compare(bad, good)["text_to_image"]["nDCG@10"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert back["value"] == -gain["value"]
    assert compare(good, good)["image_to_text"]["R@5"] == {"value": 0, "low": 0, "high": 0}


def test_queries_are_written_under_pseudonyms(manifest, tmp_path):
    rows = read_manifest(manifest)
    features = perfect_features(rows)
    rankings = [rank(each, rows, features, features, None) for each in sequence_galleries(rows)]
    one, other = (measured_run(tmp_path / name, rows, rankings) for name in ("one", "other"))
    written = (one / "retrieval_queries.jsonl").read_text()
    assert written == (other / "retrieval_queries.jsonl").read_text()
    queries = [json.loads(line) for line in written.splitlines()]
    names = {query["id"] for query in queries} | {p for query in queries for p in query["patients"]}
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
    # A row is one name as a volume and as the first carrier of its report; patients stay groups.
    known = Pseudonyms(rows)
    assert names <= {known("row", row.id) for row in rows.rows} | {
        known("patient", row.patient) for row in rows.rows
    }
    (index,) = (at for at, row in enumerate(rows.rows) if row.id == "s1-DWI")
    (query,) = (
        query
        for query in queries
        if query["direction"] == "image_to_text" and query["id"] == known("row", "s1-DWI")
    )
    assert query["patients"] == [known("patient", rows.rows[index].patient)]
    # Ids are short and can be guessed; the names also depend on the reports.
    changed = {
        id: report.model_copy(update={"text": f"{report.text} More."})
        for id, report in rows.reports.items()
    }
    assert Pseudonyms(dataclasses.replace(rows, reports=changed))("row", "s1-DWI") != query["id"]


def test_runs_on_different_queries_are_not_compared(manifest, tmp_path):
    rows = read_manifest(manifest)
    features = perfect_features(rows)
    rankings = [rank(each, rows, features, features, None) for each in sequence_galleries(rows)]
    all, some = (
        measured_run(tmp_path / name, rows, part)
        for name, part in (("all", rankings), ("some", rankings[:1]))
    )
    with pytest.raises(ValueError, match="different queries; run 'selip retrieve' on both"):
        compare(all, some)
    with pytest.raises(FileNotFoundError, match="run 'selip retrieve --split test' on it first"):
        compare(all, tmp_path)


def test_each_split_has_files_of_its_own(manifest, run, capsys):
    for name in ("retrieval.json", "retrieval_queries.jsonl"):
        (run / name).write_text("of the test split")
    arguments = ["retrieve", "--manifest", str(manifest), "--run", str(run)]
    assert main([*arguments, "--split", "validation"]) == 0
    assert f"written: {run / 'retrieval-validation.json'}" in capsys.readouterr().out
    assert json.loads((run / "retrieval-validation.json").read_text())["split"] == "validation"
    assert compare(run, run, "validation")["image_to_text"]["R@1"]["value"] == 0
    for name in ("retrieval.json", "retrieval_queries.jsonl"):
        assert (run / name).read_text() == "of the test split"


def test_normal_reports_alone_cannot_be_measured(manifest, run, tmp_path):
    for path in manifest.parent.iterdir():
        (tmp_path / path.name).symlink_to(path)
    reports = [json.loads(line) for line in (tmp_path / "reports.jsonl").open()]
    (tmp_path / "reports.jsonl").unlink()
    normal = [one | {"findings": [], "text": "no lesion.", "normal": True} for one in reports]
    (tmp_path / "reports.jsonl").write_text("".join(json.dumps(one) + "\n" for one in normal))
    (run / "retrieval-train.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="nothing can be measured on the train rows of"):
        retrieve(tmp_path / manifest.name, run, split="train", progress=False)
    assert not (run / "retrieval-train.json").exists()


def test_negative_examples_are_refused(manifest, run):
    with pytest.raises(ValueError, match="examples must be at least 0, got -1"):
        retrieve(manifest, run, examples=-1)


def test_intervals_resample_patients_not_studies(manifest):
    rows = read_manifest(manifest)
    one = tuple(row.model_copy(update={"patient": "p"}) for row in rows.rows)
    one_patient = dataclasses.replace(rows, rows=one)
    gallery = sequence_galleries(rows)[0]
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(rows), 8, generator=generator)
    ranking = rank(gallery, one_patient, features, features.flip(0), None)
    figure = summarise([ranking])["abnormal"]["image_to_text"]["R@2"]
    assert figure["low"] == figure["value"] == figure["high"]


def test_a_loaded_model_gives_the_features_of_its_parts(run, manifest):
    model, config = load_model(run / "model")
    assert load_model(run)[1] == config
    texts = ["high signal in the left pons.", "no lesion."]
    with torch.no_grad():
        torch.testing.assert_close(TextFeatures(model, texts)(texts), model.encode_text(texts))


def test_an_unfinished_run_is_refused(manifest, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no finished model; run 'selip pretrain'"):
        retrieve(manifest, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", "is the folder of a model, not of a run; give the run's folder"),
        ("card.json", "is a saved similarity; give the folder of a run"),
        ("manifest.jsonl", "is a data set; give the folder of a run"),
    ],
)
def test_another_folder_is_refused_by_what_it_is(manifest, tmp_path, name, message):
    (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=message):
        retrieve(manifest, tmp_path)
    with pytest.raises(FileNotFoundError, match="is a file; give the folder of a run"):
        retrieve(manifest, tmp_path / name)


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
