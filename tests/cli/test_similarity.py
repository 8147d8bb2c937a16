import json
import sys

import pytest

from selip_core.cli import main
from selip_core.findings import Finding, Report, write_reports
from selip_core.similarity import SyntaxSimilarity, dice, exact, load_similarity
from selip_core.similarity.kernels.definition import definition


@pytest.fixture
def reports():
    sites = ["pons", "insula", "eye", "pons"]
    abnormal = [
        Report(id=f"accession {n}", findings=[Finding(site=site, signal="high", text=f"{site}!")])
        for n, site in enumerate(sites)
    ]
    return [*abnormal, Report(id="well", normal=True)]


@pytest.fixture
def path(reports, tmp_path):
    write_reports(tmp_path / "reports.jsonl", reports)
    return str(tmp_path / "reports.jsonl")


@pytest.fixture
def folder(path, tmp_path, capsys):
    folder = str(tmp_path / "fitted")
    assert main(["similarity", "fit", path, "--out", folder]) == 0
    capsys.readouterr()
    return folder


def fit(path, tmp_path, *settings):
    return main(["similarity", "fit", path, "--out", str(tmp_path / "out"), *settings])


def test_fits_and_saves(path, folder, reports):
    loaded = load_similarity(folder)
    assert loaded.definition() == SyntaxSimilarity().definition()
    assert loaded.index.ids == [report.id for report in reports]


def test_says_what_was_done(path, tmp_path, capsys):
    assert fit(path, tmp_path) == 0
    shown = capsys.readouterr()
    assert "fitted to 5 reports: 0.4 * exact('site')" in shown.out
    assert f"written: {tmp_path / 'out'}" in shown.out
    assert "5/5" in shown.err


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["--paper"], SyntaxSimilarity.paper()),
        (["--fields", "site"], SyntaxSimilarity(1.0 * exact("site"))),
        (
            ["--fields", "site=0.25, signal=0.5", "--missing", "leave_out"],
            SyntaxSimilarity(
                0.25 * exact("site", missing="leave_out")
                + 0.5 * exact("signal", missing="leave_out")
            ),
        ),
        (["--fields", "site,text"], SyntaxSimilarity(0.5 * exact("site") + 0.5 * exact("text"))),
        (
            ["--gamma", "2", "--min-similarity", "0.1", "--top-k", "3", "--own-floor", "0.2"],
            SyntaxSimilarity(gamma=2, min_similarity=0.1, top_k=3, own_floor=0.2),
        ),
        (
            [
                *("--aggregation", "mean", "--equal", "aggregate"),
                *("--normal", "paper", "--negated", "ignored"),
            ],
            SyntaxSimilarity(
                aggregation="mean", equal="aggregate", normal="paper", negated="ignored"
            ),
        ),
    ],
)
def test_settings_are_those_of_the_library(path, tmp_path, settings, expected):
    assert fit(path, tmp_path, *settings) == 0
    assert load_similarity(tmp_path / "out").definition() == expected.definition()


def test_kernel_from_a_file(path, tmp_path):
    kernel = (0.5 * exact("site") + 0.5 * exact("signal")) * dice("text") ** 2
    (tmp_path / "kernel.json").write_text(json.dumps(definition(kernel)))
    assert fit(path, tmp_path, "--kernel", str(tmp_path / "kernel.json")) == 0
    expected = SyntaxSimilarity(kernel)
    assert load_similarity(tmp_path / "out").definition() == expected.definition()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--paper", "--gamma", "2"], "leave out --gamma"),
        (["--fields", "site=0.9,signal=0.9"], "sum to at most 1, got 1.8"),
        (["--fields", "site=0.5,signal"], "all with a weight or none"),
        (["--fields", "site,site"], "distinct names"),
        (["--fields", ""], "distinct names"),
        (["--fields", "site=much"], "numbers as weights"),
        (["--fields", "size"], "no finding has a field that the kernel reads"),
        (["--gamma", "-1"], "gamma must be finite and positive"),
        (["--top-k", "0"], "top_k must be a whole number of at least 1"),
        (["--kernel", "KERNEL", "--missing", "nothing"], "leave out --missing"),
        (["--kernel", "KERNEL"], "kernel.json:1: not JSON"),
        (["--kernel", "OTHER"], "other.json: $: needed a finding kernel"),
        (["--kernel", "nowhere.json"], "nowhere.json: No such file"),
    ],
)
def test_wrong_settings_are_told(path, tmp_path, capsys, settings, message):
    (tmp_path / "kernel.json").write_text("nonsense")
    (tmp_path / "other.json").write_text("{}")
    files = {"KERNEL": str(tmp_path / "kernel.json"), "OTHER": str(tmp_path / "other.json")}
    assert fit(path, tmp_path, *[files.get(setting, setting) for setting in settings]) == 2
    assert any(message.replace("\\", "") in line for line in capsys.readouterr().err.splitlines())
    assert not (tmp_path / "out").exists()


def test_a_folder_is_replaced_on_request_only(path, folder, capsys):
    again = ["similarity", "fit", path, "--out", folder, "--gamma", "3"]
    assert main(again) == 2
    error = capsys.readouterr().err
    assert "--overwrite" in error
    assert "0/5" not in error  # told before the work
    assert main([*again, "--overwrite"]) == 0
    assert load_similarity(folder).definition()["gamma"] == 3


def test_describes_a_folder_and_reports_alike(path, folder, capsys):
    told = []
    for source in (folder, path):
        assert main(["similarity", "describe", source, "--batch-sizes", "2,4"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] == str(load_similarity(folder).describe((2, 4))) + "\n"
    assert "accession" not in told[0]


def test_describes_with_ids_on_request(folder, capsys):
    assert main(["similarity", "describe", folder, "--show-ids"]) == 0
    assert "accession" in capsys.readouterr().out


def test_writes_json_and_a_picture(folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    json_path, plot = tmp_path / "new" / "described.json", tmp_path / "new" / "described.svg"
    arguments = ["similarity", "describe", folder, "--json", str(json_path), "--plot", str(plot)]
    assert main(arguments) == 0
    assert json.loads(json_path.read_text(encoding="utf-8"))["reports"] == 5
    assert "<svg" in plot.read_text(encoding="utf-8")
    assert "own pair" in capsys.readouterr().out


def test_what_a_picture_lacks_is_told_before_the_work(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("selip_core.cli.similarity._fitted", None)
    (tmp_path / "file").touch()
    arguments = ["similarity", "describe", folder, "--plot"]
    assert main([*arguments, str(tmp_path / "file" / "plot.png")]) == 2
    assert "cannot write to the folder" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*arguments, str(tmp_path / "new" / "plot.png")]) == 2
    assert "selip-core[plot]" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_explains_a_pair(folder, capsys):
    assert main(["similarity", "explain", folder, "accession 0", "accession 1"]) == 0
    out = capsys.readouterr().out
    assert "exact('site'): 'pons' and 'insula': 0" in out
    assert main(["similarity", "explain", folder, "accession 0", "well", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "one normal"


def test_explains_reports_with_settings(path, capsys):
    arguments = ["similarity", "explain", path, "accession 0", "accession 1", "--paper"]
    assert main(arguments) == 0
    assert "dice('text')" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "FOLDER", "accession 0", "nobody"], "b must hold ids of fitted reports"),
        (["explain", "FOLDER", "well", "well", "--gamma", "2"], "leave out --gamma"),
        (["describe", "FOLDER", "--paper"], "leave out --paper"),
        (["describe", "nowhere"], "nowhere: No such file"),
        (["describe", "EMPTY"], "holds no saved similarity"),
        (["describe", "FOLDER", "--batch-sizes", "0"], "must be positive"),
    ],
)
def test_wrong_input_is_told(folder, tmp_path, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    places = {"FOLDER": folder, "EMPTY": str(tmp_path / "empty")}
    assert main(["similarity", *[places.get(part, part) for part in arguments]]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-sizes", "many"], "needs whole numbers and commas"),
        (["--plot", "picture.xyz"], "must end in .png, .svg, .pdf, got 'picture.xyz'"),
    ],
)
def test_wrong_arguments_are_told(folder, capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(["similarity", "describe", folder, *arguments])
    assert message in capsys.readouterr().err


def test_the_card_in_place_of_its_folder_or_its_kernel(path, folder, capsys):
    card = f"{folder}/card.json"
    assert main(["similarity", "describe", card]) == 2
    assert f"{card} is the card of a saved similarity; give its folder" in capsys.readouterr().err
    assert main(["similarity", "describe", path, "--kernel", card]) == 2
    assert "give a file with its definition.kernel alone" in capsys.readouterr().err


def test_a_manifest_in_place_of_the_reports(tmp_path, capsys):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"id": "1", "volume": "a.nii", "split": "test", "report": "r"}\n' * 2)
    assert fit(str(manifest), tmp_path) == 2
    assert "manifest.jsonl: is a manifest" in capsys.readouterr().err
