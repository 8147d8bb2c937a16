"""Reports in JSON Lines: one report a line."""

import os
from collections.abc import Iterable
from pathlib import Path

from selip_core.errors import DataError, Problem
from selip_core.files import atomic_path
from selip_core.findings.report import Report
from selip_core.jsonl import scan_json_lines


def read_reports(path: str | os.PathLike[str]) -> list[Report]:
    """Return the reports of a JSON Lines file in UTF-8; blank lines are skipped.

    Raises:
        DataError: With every problem of the file: its line, its JSON path, what was expected.
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
    reports: dict[str, Report] = {}
    for number, report in rows.items():
        if report.id in reports:
            message = "this id stands on an earlier line too"
            problems.append(Problem(f"{path.name}:{number} $.id", message))
        reports[report.id] = report
    if problems:
        raise DataError(f"{path.name} holds reports that cannot be read", problems)
    return list(reports.values())


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
