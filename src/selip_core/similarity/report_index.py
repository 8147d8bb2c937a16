"""Positions of reports by their ids."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, final

import torch

from selip_core.similarity.operators import Index

if TYPE_CHECKING:
    from selip_core.findings import Report


@final
class ReportIndex:
    """The distinct reports of a corpus, in the order in which they came.

    The same report may come several times (several volumes, one report).

    Raises:
        ValueError: If there is no report, or two different reports share an id.

    Example:
        >>> from selip_core import Report
        >>> index = ReportIndex([Report(id="a"), Report(id="b"), Report(id="a")])
        >>> index.positions(["b", "a"], "rows")
        tensor([1, 0])
    """

    def __init__(self, reports: "Iterable[Report]") -> None:
        distinct: dict[str, "Report"] = {}
        conflicts = []
        for number, report in enumerate(reports):
            if not hasattr(report, "findings"):
                raise ValueError(
                    f"reports must be selip_core.Report objects, got {type(report).__name__} at "
                    f"position {number}; read JSON with Report.model_validate or read_reports"
                )
            if distinct.setdefault(report.id, report) != report:
                conflicts.append(number)
        if conflicts:
            raise ValueError(
                "different reports must have different ids; an earlier report has the id of the "
                f"reports at positions {conflicts[:10]} ({len(conflicts)} in all)"
            )
        if not distinct:
            raise ValueError("a similarity needs at least one report to be fitted, got none")
        self.reports = tuple(distinct.values())
        self._positions = {id: position for position, id in enumerate(distinct)}

    def positions(self, ids: Sequence[str] | None, name: str) -> Index:
        """Return the positions (int64) of these ids, or of all reports for ``None``.

        Raises:
            ValueError: If an id is not fitted; the message gives places in ``ids``, not the ids.
        """
        if ids is None:
            return torch.arange(len(self.reports))
        unknown = [place for place, id in enumerate(ids) if id not in self._positions]
        if unknown:
            raise ValueError(
                f"{name} must hold ids of fitted reports; {len(unknown)} of {len(ids)} are not, "
                f"at places {unknown[:10]}; fit all reports that training will show"
            )
        return torch.tensor([self._positions[id] for id in ids], dtype=torch.int64)
