"""Reports in JSON Lines: one report a line."""

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from selip_core.errors import DataError, Problem
from selip_core.files import atomic_path
from selip_core.findings.report import Report


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
    reports: dict[str, Report] = {}
    problems: list[Problem] = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            report = Report.model_validate_json(line)
        except ValidationError as error:
            problems += problems_of(error, where)
            continue
        if report.id in reports:
            problems.append(Problem(f"{where} $.id", "this id stands on an earlier line too"))
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


def problems_of(error: ValidationError, where: str) -> list[Problem]:
    """Return what pydantic found wrong, as problems with JSON paths and without values."""
    return [
        Problem(f"{where} {_json_path(item['loc'])}", item["msg"])
        for item in error.errors(include_input=False, include_url=False)
    ]


def _json_path(location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "$" + "".join(steps)
