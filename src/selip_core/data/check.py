"""Everything that is wrong or odd with a data set, in one go."""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from selip_core.data.check_reports import check_reports
from selip_core.data.check_result import CheckResult, Issue
from selip_core.data.check_same_volumes import check_same_volumes
from selip_core.data.check_splits import check_splits
from selip_core.data.check_volumes import check_volumes
from selip_core.data.manifest import KNOWN_SEQUENCES, Manifest
from selip_core.data.manifest_jsonl import scan_manifest
from selip_core.data.nifti_geometry import Geometry
from selip_core.data.preprocessing import Preprocessing


def check_manifest(
    path: str | os.PathLike[str],
    reports: str | os.PathLike[str] | None = None,
    sequences: Collection[str] = KNOWN_SEQUENCES,
    workers: int | None = None,
    progress: bool = False,
    geometry: Geometry = "auto",
    preprocessing: Preprocessing | None = None,
) -> CheckResult:
    """Return everything that is wrong or odd with a manifest, its reports and its volumes.

    Errors: rows and reports that cannot be read; ids that repeat; sequences not known; volumes
    missing, unreadable, too large, not 3D, not finite, constant, or open in their geometry; masks
    that do not fit; patients, studies and volume files in two splits; studies of two patients.
    Warnings: odd spacing or orientation, outright and against the median of the sequence; reports
    without findings that are not declared normal; texts and volumes that repeat; reports that no
    row refers to; and, between splits, shared reports and texts, volumes of equal content, and ids
    that differ only in how they are written.

    Args:
        path: The manifest.
        reports: The reports file; ``reports.jsonl`` beside the manifest by default.
        sequences: The sequences that a row may name.
        workers: Threads that read; one a processor by default.
        progress: Show a progress bar.
        geometry: Which form of a NIfTI header gives its affine, see
            :func:`~selip_core.data.read_volume`; ``"auto"`` takes that of ``preprocessing``.
        preprocessing: Apply it to each volume, as training will. Without it volumes are read, and
            their size is compared with the limits of the default preprocessing.

    Raises:
        FileNotFoundError: If there is no such manifest.
        ValueError: If ``workers`` is below 1, or ``geometry`` is not one of the three.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "manifest.jsonl"
        >>> _ = path.write_text("{")
        >>> print(check_manifest(path).table())
        manifest.jsonl: 0 rows
        1 error, 0 warnings
        error: manifest (1)
          manifest.jsonl:1 $: not JSON at column 2: it ends within an object, list or string; ...
    """
    manifest, problems = scan_manifest(path, reports, sequences)
    issues = [Issue("error", "manifest", problem.where, problem.message) for problem in problems]
    issues += check_splits(manifest)
    issues += check_reports(manifest)
    settings = preprocessing or Preprocessing()
    if geometry != "auto":
        settings = replace(settings, geometry=geometry)
    prepare = preprocessing is not None
    issues += check_volumes(manifest, workers, progress, settings, prepare)
    issues += check_same_volumes(manifest, workers)
    issues.sort(key=lambda issue: issue.severity)  # "error" stands before "warning"
    return CheckResult(manifest.path.name, _count_rows(manifest, sequences), tuple(issues))


def _count_rows(manifest: Manifest, sequences: Collection[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for row in manifest.rows:
        name = row.sequence if row.sequence in sequences else "unknown"  # it could be anything
        counts.setdefault(row.split, Counter())[name] += 1
    return {split: dict(sequences) for split, sequences in counts.items()}
