"""The tables beside the volumes: manifest, reports and truth, gathered from the studies on disk."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selip_core.data.files import atomic_path
from selip_core.simulation.patients import Visit
from selip_core.simulation.storage import MASK_NAME, read_record


def write_tables(out: Path, visits: list[Visit]) -> Path:
    """Write ``reports.jsonl``, ``truth.jsonl`` and ``manifest.jsonl``; return the manifest's path.

    The manifest is written last, so that whoever finds it finds all it names.
    """
    records = [read_record(out, visit.study) for visit in visits]
    reports = [report for record in records for report in record["reports"]]
    write_json_lines(out / "reports.jsonl", reports)
    write_json_lines(out / "truth.jsonl", (record["truth"] for record in records))
    rows = [
        _row(visit, report)
        for visit, record in zip(visits, records, strict=True)
        for report in record["reports"]
    ]
    write_json_lines(out / "manifest.jsonl", rows)
    return out / "manifest.jsonl"


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one object a line, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _row(visit: Visit, report: Mapping[str, Any]) -> dict[str, Any]:
    sequence = report["id"].removeprefix(f"{visit.study}-")
    folder = f"volumes/{visit.study}"
    return {
        "id": report["id"],
        "study": visit.study,
        "patient": visit.patient,
        "split": visit.split,
        "sequence": sequence,
        "volume": f"{folder}/{sequence}.nii.gz",
        "report": report["id"],
        "mask": f"{folder}/{MASK_NAME}.nii.gz",
        "simulated": True,
    }
