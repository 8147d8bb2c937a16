"""Checks of rows and reports, which open no volume."""

from collections import Counter
from collections.abc import Iterator

from selip_core.data.check_result import Issue
from selip_core.data.manifest import Manifest
from selip_core.findings import normalize_text


def check_reports(manifest: Manifest) -> Iterator[Issue]:
    """Yield reports that say nothing, that repeat a text, and that nothing refers to."""
    yield from _unknown_reports(manifest)
    yield from _repeated_texts(manifest)
    unused = set(manifest.reports) - {row.report for row in manifest.rows}
    if unused and _all_rows_were_read(manifest):
        message = f"no row refers to {len(unused)} of {len(manifest.reports)} reports"
        yield Issue("warning", "report", "reports", message, ", ".join(sorted(unused)))


def _all_rows_were_read(manifest: Manifest) -> bool:
    """Whether no row was rejected: which report such a row refers to is not known."""
    lines = manifest.path.read_bytes().split(b"\n")
    return sum(bool(line.strip()) for line in lines) == len(manifest)


def _unknown_reports(manifest: Manifest) -> Iterator[Issue]:
    seen: set[str] = set()
    for index, row in enumerate(manifest.rows):
        report = manifest.reports.get(row.report)
        if report is None or report.id in seen or not report.is_unknown:
            continue
        seen.add(report.id)
        message = (
            "its report has no findings and is not declared normal, so it is similar only to "
            "itself; extract its findings, or set normal = true if that is what it says"
        )
        yield Issue("warning", "findings", manifest.place(index, "report"), message, report.id)


def _repeated_texts(manifest: Manifest) -> Iterator[Issue]:
    """Yield one issue for the whole file: in radiology many reports say the same."""
    texts = Counter(
        normalize_text(report.text).strip() for report in manifest.reports.values() if report.text
    )
    repeated = sum(count - 1 for count in texts.values())
    if repeated:
        message = (
            f"{repeated} of {texts.total()} reports repeat the text of another; usual for normal "
            "ones, and false negatives of plain CLIP wherever they meet in a batch"
        )
        yield Issue("warning", "duplicate text", "reports", message)
