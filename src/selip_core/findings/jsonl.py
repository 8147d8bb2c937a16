"""Reports in JSON Lines: one report per line."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from selip_core.errors import DataError, Problem
from selip_core.files import atomic_path
from selip_core.findings.report import Report
from selip_core.jsonl import scan_json_lines


def read_reports(path: str | os.PathLike[str]) -> list[Report]:
    """Return the reports of a JSON Lines file in UTF-8; blank lines are skipped.

    Raises:
        DataError: With every problem of the file (its line, its JSON path, what was expected), or
            if it is empty, or what it is if it is not JSON Lines.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "reports.jsonl"
        >>> write_reports(path, [Report(id="a", normal=True, ward="4b")])
        >>> read_reports(path)[0].ward
        '4b'
    """
    path = Path(path)
    rows, problems = scan_json_lines(path, Report.model_validate_json)
    if not problems:
        problems += _no_reports(path.name, rows)
    first: dict[str, int] = {}
    for number, report in rows.items():
        if first.setdefault(report.id, number) != number:
            message = f"line {first[report.id]} has this id too"
            problems.append(Problem(f"{path.name}:{number} $.id", message))
    if problems:
        raise DataError(f"{path.name} holds reports that cannot be read", problems)
    return list(rows.values())


def _no_reports(name: str, rows: Mapping[int, Report]) -> list[Problem]:
    """Return that a file is empty, or the manifest, whose rows have an id as reports do."""
    if not rows:
        return [Problem(name, "is empty; it needs one report per line")]
    of_manifest = sum(
        {"volume", "split"} <= (row.model_extra or {}).keys() for row in rows.values()
    )
    if 2 * of_manifest <= len(rows):
        return []
    message = "is a manifest: most of its objects have a volume and a split; give the reports"
    return [Problem(name, message)]


def write_reports(path: str | os.PathLike[str], reports: Iterable[Report]) -> None:
    """Write reports as JSON Lines in UTF-8, whole or not at all; unset fields are left out.

    Raises:
        OSError: If the folder is missing or not writable.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "reports.jsonl"
        >>> write_reports(path, [Report(id="a", normal=True)])
        >>> print(path.read_text())
        {"id":"a","normal":true}
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for report in reports:
            file.write(report.model_dump_json(exclude_unset=True) + "\n")
