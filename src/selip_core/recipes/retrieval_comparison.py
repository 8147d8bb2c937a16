"""Two runs on the same queries: what each query got, and the interval of their difference."""

import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch

from selip_core.data import Manifest
from selip_core.data.manifest import Split
from selip_core.evaluation import Measures, paired_difference
from selip_core.files import atomic_path
from selip_core.recipes.ranking import Ranking
from selip_core.recipes.run_folder import RunFolder

Query = dict[str, Any]
"""``direction``, ``sequence``, ``id``, ``patients``, and ``measures`` by name; the ids are
pseudonyms, see :class:`Pseudonyms`."""


@final
class Pseudonyms:
    """Names that replace the ids of rows and patients: equal for equal ids of the same data.

    Keyed hashes (HMAC-SHA256, 64 bits); the key is a digest of ids, patients and reports, and
    written nowhere. The names can be made again from the data alone; without the reports a guessed
    id cannot be checked.

    Args:
        manifest: The rows that are measured.
    """

    def __init__(self, manifest: Manifest) -> None:
        key = hashlib.sha256(b"retrieval queries")
        for index, row in enumerate(manifest.rows):
            report = manifest.report_of(index).model_dump_json()
            key.update(json.dumps([row.id, row.patient, report]).encode())
        self._key = key.digest()

    def __call__(self, kind: str, id: str) -> str:
        """Return the name of an id among those of one kind."""
        message = json.dumps([kind, id]).encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:16]


def abnormal_queries(rankings: Sequence[Ranking], manifest: Manifest) -> list[Query]:
    """Every query of the section ``abnormal`` with its measures, one dictionary each.

    A volume is asked under its row's id, a report under that of the first row that carries it; both
    ids and those of patients are replaced by :class:`Pseudonyms`.
    """
    name = Pseudonyms(manifest)
    queries: list[Query] = []
    for ranking in (ranking.abnormal() for ranking in rankings):
        gallery = ranking.gallery
        if gallery.queries:
            for direction, rows, measures in (
                ("image_to_text", gallery.queries, ranking.image_to_text()),
                ("text_to_image", gallery.entries, ranking.text_to_image()),
            ):
                about = {"direction": direction, "sequence": gallery.sequence}
                ids = [name("row", manifest.rows[row].id) for row in rows]
                queries += [about | query for query in _by_query(ids, measures, name)]
    return queries


def _by_query(ids: Sequence[str], measures: Measures, name: Pseudonyms) -> list[Query]:
    """Turn values by measure into measures by query; one that a query lacks is left out."""
    patients = next(iter(measures.values())).patients
    values = {name: measured.values.tolist() for name, measured in measures.items()}
    return [
        {
            "id": id,
            "patients": [name("patient", patient) for patient in patients[at]],
            "measures": {one: all[at] for one, all in values.items() if all[at] == all[at]},
        }
        for at, id in enumerate(ids)
    ]


def write_queries(path: Path, queries: Sequence[Query]) -> None:
    """Write one query a line, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(one) + "\n" for one in queries), encoding="utf-8")


def compare(
    run: str | os.PathLike[str], baseline: str | os.PathLike[str], split: Split = "test"
) -> dict[str, dict[str, dict[str, float]]]:
    """What a run gains over another on the same abnormal volumes and reports.

    Both are measured by ``retrieve`` on the same rows before. By direction and measure, the mean
    over queries of the run's value less the baseline's, and its 95 % bootstrap interval by patient,
    every resample the same for both: ``{"image_to_text": {"R@1": {"value", "low", "high"}}}``.
    The interval tells how the difference varies with the patients asked, not with the seed that
    the runs were trained with.

    Args:
        run: The folder of a run.
        baseline: That of the run it is held against.
        split: The rows that both were measured on.

    Raises:
        FileNotFoundError: If ``retrieve`` was not run on one of them.
        ValueError: If they were measured on different queries.
    """
    ours, theirs = (_read_queries(RunFolder(Path(folder)), split) for folder in (run, baseline))
    if [_identity(query) for query in ours] != [_identity(query) for query in theirs]:
        raise ValueError(
            f"{run} and {baseline} were measured on different queries; run 'selip retrieve' on "
            "both, with the same manifest, reports and split"
        )
    gains: dict[str, dict[str, dict[str, float]]] = {}
    for direction in dict.fromkeys(query["direction"] for query in ours):
        asked = [at for at, query in enumerate(ours) if query["direction"] == direction]
        gains[direction] = _gains([ours[at] for at in asked], [theirs[at] for at in asked])
    return gains


def _gains(ours: Sequence[Query], theirs: Sequence[Query]) -> dict[str, dict[str, float]]:
    patients = [query["patients"] for query in ours]
    gains = {}
    for name in dict.fromkeys(name for query in ours for name in query["measures"]):
        values, baseline = (
            torch.tensor([query["measures"].get(name, torch.nan) for query in queries])
            for queries in (ours, theirs)
        )
        gain = paired_difference(values, baseline, patients)
        if gain is not None:
            gains[name] = gain
    return gains


def _read_queries(run: RunFolder, split: Split) -> list[Query]:
    path = run.queries(split)
    if not path.exists():
        raise FileNotFoundError(
            f"{run.path} holds no {path.name}; run 'selip retrieve --split {split}' on it first"
        )
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _identity(query: Query) -> tuple[Any, ...]:
    return query["direction"], query["sequence"], query["id"], tuple(query["patients"])
