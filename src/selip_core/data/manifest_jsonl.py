"""Manifests in JSON Lines: one row a line."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from selip_core.data.manifest import KNOWN_SEQUENCES, Manifest, ManifestRow
from selip_core.errors import DataError, Problem
from selip_core.files import atomic_path
from selip_core.findings import Report, read_reports
from selip_core.jsonl import Faults, scan_json_lines


def read_manifest(
    path: str | os.PathLike[str],
    reports: str | os.PathLike[str] | None = None,
    sequences: Collection[str] = KNOWN_SEQUENCES,
) -> Manifest:
    """Return the manifest in a JSON Lines file with its reports. No volume is opened.

    Args:
        path: The manifest, in UTF-8; blank lines are skipped.
        reports: The reports file; ``reports.jsonl`` beside the manifest by default.
        sequences: The sequences that a row may name. Pass a set of your own for others.

    Raises:
        DataError: With every problem of both files: place, what was expected, what to do.
        FileNotFoundError: If there is no such manifest.

    Example:
        >>> import tempfile
        >>> from selip_core.findings import write_reports
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_reports(folder / "reports.jsonl", [Report(id="r", normal=True)])
        >>> write_manifest(folder / "manifest.jsonl", [
        ...     ManifestRow(id="1", study="s", patient="p", split="train", sequence="T2",
        ...                 volume="t2.nii.gz", report="r")])
        >>> manifest = read_manifest(folder / "manifest.jsonl")
        >>> manifest.place(0, "volume"), manifest.report_of(0).normal
        ('manifest.jsonl:1 $.volume', True)
    """
    manifest, problems = scan_manifest(path, reports, sequences)
    if problems:
        raise DataError(f"{manifest.path.name} cannot be used", problems)
    return manifest


def write_manifest(path: str | os.PathLike[str], rows: Iterable[ManifestRow]) -> None:
    """Write rows as JSON Lines, whole or not at all. Their reports stand in a file beside it.

    Raises:
        OSError: If the folder is missing or not writable.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "manifest.jsonl"
        >>> write_manifest(path, [
        ...     ManifestRow(id="1", study="s", patient="p", split="train", sequence="T2",
        ...                 volume="t2.nii.gz", report="r")])
        >>> len(path.read_text().splitlines())
        1
    """
    lines = [row.model_dump_json(exclude_unset=True) + "\n" for row in rows]
    with atomic_path(path) as temporary:
        temporary.write_bytes("".join(lines).encode())


def scan_manifest(
    path: str | os.PathLike[str],
    reports: str | os.PathLike[str] | None = None,
    sequences: Collection[str] = KNOWN_SEQUENCES,
) -> tuple[Manifest, list[Problem]]:
    """Return what can be read of a manifest, and everything that is wrong with it.

    Arguments are those of :func:`read_manifest`.

    Raises:
        FileNotFoundError: If there is no such manifest.
    """
    path = Path(path)
    rows, problems = scan_json_lines(path, ManifestRow.model_validate_json, _no_manifest)
    if not rows and not problems:
        problems.append(Problem(path.name, "the manifest is empty; it needs one row per volume"))
    if not rows and reports is None:  # reports beside a file that is no manifest are not its own
        return Manifest(path, (), {}, ()), problems
    problems += _wrong_sequences(path, rows, sequences) + _repeated_ids(path, rows)
    known, report_problems = _read_reports(path, reports)
    problems += report_problems or _missing_reports(path, rows, known)
    manifest = Manifest(path, tuple(rows.values()), known, tuple(rows))
    return manifest, problems


def _no_manifest(faults: Faults) -> str | None:
    """Return that a file is no manifest if most rows have no volume and no split."""
    foreign = sum(
        {"$.volume", "$.split"} <= {fault.path for fault in found} for found in faults.values()
    )
    if foreign < 2 or 2 * foreign <= len(faults):  # one row may be a slip
        return None
    return (
        "does not look like a manifest: most of its objects have no volume and no split; give the "
        "manifest, not the reports or another file"
    )


def _wrong_sequences(
    path: Path, rows: dict[int, ManifestRow], sequences: Collection[str]
) -> list[Problem]:
    message = (
        f"unknown sequence; known are {', '.join(sorted(sequences))}; "
        "to allow more, name them in data.sequences of the settings, by selip check-data "
        "--allow-sequence, or pass sequences=KNOWN_SEQUENCES | {...}"
    )
    return [
        Problem(f"{path.name}:{number} $.sequence", message)
        for number, row in rows.items()
        if row.sequence not in sequences
    ]


def _repeated_ids(path: Path, rows: dict[int, ManifestRow]) -> list[Problem]:
    first: dict[str, int] = {}
    return [
        Problem(f"{path.name}:{number} $.id", f"line {first[row.id]} has this id too")
        for number, row in rows.items()
        if first.setdefault(row.id, number) != number
    ]


def _read_reports(
    manifest: Path, reports: str | os.PathLike[str] | None
) -> tuple[dict[str, Report], list[Problem]]:
    path = manifest.parent / "reports.jsonl" if reports is None else Path(reports)
    try:
        return {report.id: report for report in read_reports(path)}, []
    except FileNotFoundError:
        advice = "put reports.jsonl beside the manifest"
        return {}, [Problem(path.name, f"there is no such reports file; {advice}")]
    except DataError as error:
        return {}, list(error.problems)


def _missing_reports(
    path: Path, rows: dict[int, ManifestRow], reports: dict[str, Report]
) -> list[Problem]:
    missing = [number for number, row in rows.items() if row.report not in reports]
    if len(missing) == len(rows) > 3:
        message = (
            f"none of the {len(rows):,} rows names a report of the reports file; is it the right "
            "file, with the same ids?"
        )
        return [Problem(path.name, message)]
    message = "no report with this id in the reports file; add the report or remove the row"
    return [Problem(f"{path.name}:{number} $.report", message) for number in missing]
