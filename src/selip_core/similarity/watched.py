"""Reports as they are read, one by one."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selip_core.findings import Report


def watched(reports: "Iterable[Report]", progress: bool) -> "Iterator[Report]":
    """Yield the reports, with a bar if asked for.

    Raises:
        ValueError: If something else than a report comes.
    """
    if progress:
        from tqdm import tqdm

        reports = tqdm(reports, desc="reports", unit="report")
    for number, report in enumerate(reports):
        if not hasattr(report, "findings"):
            raise ValueError(
                f"reports must be selip_core.Report objects, got {type(report).__name__} at "
                f"position {number}; read JSON with Report.model_validate or read_reports"
            )
        yield report
