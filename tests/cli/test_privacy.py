"""Where ids, words and paths may be found: docs/privacy.md, tried on every command."""

import fnmatch
import json
import os
import pickle
import re
import shutil
import tempfile
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
import torch

from selip_core import SemanticSimilarity, SyntaxSimilarity
from selip_core.cli import main
from selip_core.cli.main import SUBCOMMANDS
from selip_core.data import Preprocessing, VolumeDataset, check_manifest, read_manifest
from selip_core.errors import DataError
from selip_core.findings import read_reports
from selip_core.recipes.folder_lock import LOCK, lock_folder

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"
ID, OTHER_ID = "CanaryIdentifierReport0", "CanaryIdentifierReport3"


def kinds_in(content: bytes | str, canaries: dict[str, str]) -> set[str]:
    """Return the kinds of canaries in some text, whatever their case; UTF-16 loses its zeros."""
    content = content.encode() if isinstance(content, str) else content
    forms = [content.lower(), content.replace(b"\0", b"").lower()]
    return {
        kind for kind, start in canaries.items() if any(start.lower().encode() in f for f in forms)
    }


def page_table(heading: str) -> dict[str, set[str]]:
    """Return the kinds that a table of the page allows, by its first column."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    header, _, *rows = [
        line.strip("|").split("|") for line in section.splitlines() if line[:1] == "|"
    ]
    names = [cell.strip() for cell in header]
    return {
        cells[0].strip().strip("`"): {
            name for name, cell in zip(names, cells, strict=True) if cell.strip() == "yes"
        }
        for cells in rows
    }


Found: TypeAlias = dict[str, set[str]]
FILES = page_table("Files")
SHOWN = page_table("What commands show")


@dataclass(frozen=True)
class Data:
    """The data sets of the cases, and settings of a short run."""

    good: object
    volumes: object
    lines: object
    settings: Path


@pytest.fixture(scope="module")
def data(good_data, faulty_volumes, faulty_lines, settings_file):
    return Data(good_data, faulty_volumes, faulty_lines, settings_file)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The folder that commands are run in; its relative paths are the page's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(data):
    return ["pretrain", "--manifest", data.good.manifest, "--config", data.settings, "--out", "run"]


def check_data_cases(data):
    yield ["check-data", data.lines.manifest, "--json", "-"]
    for one in (data.good, data.volumes, data.lines):
        yield ["check-data", one.manifest, "--json", "check.json", "--workers", 2]
        yield ["check-data", one.manifest, "--show-values", "--json", "shown.json"]
    yield ["check-data", data.good.folder]


def similarity_cases(data):
    reports, fit = data.good.folder / "reports.jsonl", ["similarity", "fit"]
    yield [*fit, reports, "--out", "fitted"]
    yield [*fit, reports, "--out", "fitted"]  # refused: it is there
    yield [*fit, reports, "--out", "fitted", "--overwrite", "--kernel", kernel_file()]
    yield [*fit, reports, "--out", "other", "--fields", "nothing"]
    for one in (data.lines.folder / "reports.jsonl", data.good.manifest, data.good.folder):
        yield [*fit, one, "--out", "other"]
    yield [
        "similarity",
        "describe",
        "fitted",
        "--json",
        "described.json",
        "--plot",
        "described.png",
    ]
    yield ["similarity", "describe", "fitted", "--json", "named.json", "--show-ids"]
    yield ["similarity", "explain", "fitted", ID, OTHER_ID, "--json", "explained.json"]
    shutil.copytree("fitted", "spoilt")
    Path("spoilt/ids.json").write_text('["CanaryIdentifier')
    yield ["similarity", "describe", "spoilt"]
    shutil.rmtree("spoilt")


def kernel_file():
    field = {"field": "text", "missing": "equal"}
    fuzzy = {"kind": "fuzzy", "scorer": "ratio", "cutoff": 0, **field}
    site = {"kind": "exact", "field": "site", "missing": "equal"}
    Path("kernel.json").write_text(json.dumps({"kind": "product", "left": site, "right": fuzzy}))
    return "kernel.json"


def pretrain_cases(data):
    yield [*train(data), "--cache", "cache"]
    yield train(data)  # refused: it holds a run
    for one in (data.volumes, data.lines):
        start = ["pretrain", "--manifest", one.manifest, "--config", data.settings, "--out"]
        yield [*start, "run", "--resume"]
        yield [*start, f"run of {one.folder.name}", "--cache", "cache"]


def retrieve_cases(data):
    assert main([str(argument) for argument in train(data)]) == 0
    for one in (data.good, data.volumes, data.lines):
        yield ["retrieve", "--manifest", one.manifest, "--run", "run", "--cache", "cache"]


def convert_weights_cases(data):
    settings = {"hyper_parameters": {"data": "CanaryVolumePath", "names": ["CanaryPatientName"]}}
    torch.save({"state_dict": {"a.weight": torch.ones(2)}, **settings}, "w.pth")
    yield ["convert-weights", "w.pth", "weights.safetensors"]
    torch.save({"names": ["CanaryPatientName"]}, "w.pth")
    yield ["convert-weights", "w.pth", "weights.safetensors", "--force"]


CASES = {
    # These two read no data of the user's.
    "simulate": lambda data: [
        ["simulate", "--out", "simulated", "--studies", 1, "--workers", 1, "--spacing", 10]
    ],
    "demo": lambda data: [["demo", "--out", "demo", "--studies", 1]],
    "doctor": lambda data: [["doctor", "--seconds", 0, "--json", "doctor.json"]],
    "check_data": check_data_cases,
    "similarity": similarity_cases,
    "pretrain": pretrain_cases,
    "retrieve": retrieve_cases,
    "convert_weights": convert_weights_cases,
}


def test_every_command_has_cases():
    assert set(CASES) == set(SUBCOMMANDS)


def test_commands_write_and_show_what_the_page_says(data, work, canaries, capfd, caplog):
    """Nothing more, and all of it: each row of the page is seen, and each yes."""
    found: Found = defaultdict(set)
    for name in CASES:
        folder = work / f"of {name}"
        folder.mkdir()
        os.chdir(folder)
        for case in CASES[name](data):
            run_case([str(argument) for argument in case], canaries, found, capfd, caplog)
            check_files(folder, canaries, found)
    for folder in (fit_semantic(data), hold_lock()):
        check_files(folder, canaries, found)
    assert {row: found[row] for row in found} == {
        row: allowed - {"voxels"} for row, allowed in {**FILES, **SHOWN}.items()
    }


def run_case(arguments, canaries, found, capfd, caplog):
    """Run a command, and hold what it shows to the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code = main(arguments)
    captured = capfd.readouterr()
    shown = captured.out + captured.err + caplog.text
    caplog.clear()
    for own in (ID, OTHER_ID):  # what is on the command line is the user's own
        shown = shown.replace(own, "") if own in arguments else shown
    assert code in (0, 1, 2), shown
    asked = [row for row in SHOWN if set(row.split()) <= set(arguments)]
    kinds = kinds_in(shown, canaries)
    more = kinds - set().union(*(SHOWN[row] for row in asked))
    assert not more, f"{arguments}: {more} in {shown}"
    for row in asked:
        found[row] |= kinds


def check_files(folder, canaries, found):
    """Hold every file to its row of the page; a file without a row is one that the page lacks."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name.startswith((".coverage", "kernel.json", "w.pth", "spoilt/")):
            continue
        name = re.sub("^run of [^/]*", "run", name)
        rows = [row for row in FILES if fnmatch.fnmatchcase(name, row)]
        assert rows, f"docs/privacy.md has no row for {name}"
        kinds = kinds_in(path.read_bytes(), canaries) | kinds_in(name, canaries)
        more = kinds - set().union(*(FILES[row] for row in rows))
        assert not more, f"{more} in {name}"
        for row in rows:
            found[row] |= kinds


def fit_semantic(data):
    """Return a folder with a similarity of texts, and the embeddings that it kept."""

    def count_letters(texts):
        return torch.tensor([[text.count(letter) for letter in "aeiou"] for text in texts]) + 1.0

    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    similarity = SemanticSimilarity(count_letters, cache=folder / "embeddings", revision="1")
    similarity.fit(read_reports(data.good.folder / "reports.jsonl")).save(folder / "semantic")
    return folder


def hold_lock():
    """Return a folder with a copy of the lock that a run holds."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    (folder / "run").mkdir()
    with lock_folder(folder / "run"):
        held = (folder / "run" / LOCK).read_bytes()
    (folder / "run" / LOCK).write_bytes(held)
    return folder


def test_errors_hold_no_value_in_python(data, canaries):
    errors = []

    def catch(call):
        try:
            call()
        except ValueError as error:
            errors.append(error)
        else:
            pytest.fail("no error")

    catch(lambda: read_manifest(data.lines.manifest))
    catch(lambda: read_reports(data.lines.folder / "reports.jsonl"))
    manifest = read_manifest(data.volumes.manifest)
    volumes = VolumeDataset(manifest, Preprocessing(spacing=(8, 8, 8), size=(16, 16, 16)))
    for index in (1, 2, 3, 4, 5, 7, 8, 9, 12):
        catch(lambda index=index: volumes[index])
    loader = torch.utils.data.DataLoader(volumes, num_workers=1, sampler=[2])
    catch(lambda: next(iter(loader)))
    reports = read_reports(data.good.folder / "reports.jsonl")
    similarity = SyntaxSimilarity().fit(reports)
    catch(lambda: similarity.batch(["CanaryIdentifierUnknown"]))
    catch(lambda: similarity.explain(ID, "CanaryIdentifierUnknown"))
    changed = replace_text(reports[0])
    catch(lambda: similarity.extend([changed]))
    catch(lambda: SemanticSimilarity(len).fit([reports[0].model_copy(update={"text": None})]))
    for error in errors:
        copy = pickle.loads(pickle.dumps(error)) if isinstance(error, DataError) else error
        notes = getattr(error, "__notes__", [])
        said = "\n".join([str(error), repr(error), str(copy), repr(copy.args), *notes])
        problems = [repr(problem) for problem in getattr(error, "problems", ())]
        assert not kinds_in("\n".join([said, *problems]), canaries), said


def replace_text(report):
    finding = report.findings[0].model_copy(update={"site": "CanaryWordOther"})
    return report.model_copy(update={"findings": [finding]})


def test_results_of_a_check_hold_no_value_unless_asked(data, canaries):
    result = check_manifest(data.lines.manifest)
    assert not kinds_in(result.table() + json.dumps(result.as_dict()), canaries)
    assert "patient ids" in kinds_in(result.table(show_values=True), canaries)
