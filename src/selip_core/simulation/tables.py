"""The tables beside the volumes: manifest, reports and truth, gathered from the studies on disk."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selip_core.findings import Report, write_reports
from selip_core.simulation.patients import Visit
from selip_core.simulation.storage import MASK_NAME, read_record

if TYPE_CHECKING:
    from selip_core.data import ManifestRow


def write_tables(out: Path, visits: list[Visit]) -> Path:
    """Write ``reports.jsonl``, ``truth.jsonl`` and ``manifest.jsonl``; return the manifest's path.

    The manifest is written last, so that whoever finds it finds all it names.
    """
    # Here and not above: it brings torch, which the worker processes do without.
    from selip_core.data import write_manifest
    from selip_core.files import atomic_path

    records = [read_record(out, visit.study) for visit in visits]
    reports = [Report.model_validate(row) for record in records for row in record["reports"]]
    write_reports(out / "reports.jsonl", reports)
    with atomic_path(out / "truth.jsonl") as temporary:
        lines = [json.dumps(record["truth"], ensure_ascii=False) + "\n" for record in records]
        temporary.write_text("".join(lines), encoding="utf-8")
    rows = [
        _row(visit, report["id"])
        for visit, record in zip(visits, records, strict=True)
        for report in record["reports"]
    ]
    write_manifest(out / "manifest.jsonl", rows)
    return out / "manifest.jsonl"


def _row(visit: Visit, report_id: str) -> "ManifestRow":
    from selip_core.data import ManifestRow

    sequence = report_id.removeprefix(f"{visit.study}-")
    folder = f"volumes/{visit.study}"
    fields: dict[str, Any] = {
        "id": report_id,
        "study": visit.study,
        "patient": visit.patient,
        "split": visit.split,
        "sequence": sequence,
        "volume": f"{folder}/{sequence}.nii.gz",
        "report": report_id,
        "mask": f"{folder}/{MASK_NAME}.nii.gz",
        "simulated": True,
    }
    return ManifestRow.model_validate(fields)
