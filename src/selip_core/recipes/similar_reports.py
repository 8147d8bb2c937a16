"""A dozen reports worth comparing."""

from collections.abc import Sequence

import torch

from selip_core.findings import Report
from selip_core.similarity import SyntaxSimilarity


def choose_reports(reports: Sequence[Report], count: int = 12) -> list[Report]:
    """Two normal reports, then groups of like ones: enough to see blocks and shades between them.

    Each group is a report and the two most similar to it that say something else or the same; the
    next group starts where the chosen ones reach least. Deterministic.

    Example:
        >>> from selip_core.findings import Finding
        >>> sites = ("pons", "pons", "insula", "thalamus")
        >>> reports = [Report(id=str(number), findings=(Finding(site=site, signal="high"),))
        ...            for number, site in enumerate(sites)]
        >>> [report.id for report in choose_reports(reports, count=3)]
        ['0', '1', '2']
    """
    normal = [report for report in reports if report.normal][:2]
    others = [report for report in reports if report.findings]
    if not others:
        return normal
    ids = [report.id for report in others]
    values = SyntaxSimilarity(aggregation="best", gamma=1.0).fit(others).batch(ids).dense()
    chosen: list[int] = []
    while len(chosen) < min(count - len(normal), len(others)):
        chosen += _next_group(values, chosen)
    return normal + [others[index] for index in chosen[: count - len(normal)]]


def _next_group(values: torch.Tensor, chosen: list[int]) -> list[int]:
    """The report least like the chosen ones, then the nearest one equal and one not equal to it."""
    free = torch.ones(len(values), dtype=torch.bool)
    free[chosen] = False
    reach = values[:, chosen].amax(dim=1) if chosen else torch.zeros(len(values))
    start = int(reach.masked_fill(~free, torch.inf).argmin())
    free[start] = False
    group = [start]
    for ceiling in (1.0, 0.999):
        likeness = values[start].masked_fill(~free | (values[start] > ceiling), -1)
        if likeness.max() > 0:
            group.append(int(likeness.argmax()))
            free[group[-1]] = False
    return group
