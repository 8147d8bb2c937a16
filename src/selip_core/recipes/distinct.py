"""Which reports say the same: one label for each distinct report."""

import json
from collections.abc import Sequence

from selip_core.findings import Report, normalize_text

NORMAL = "normal"
"""The label of every report that is declared normal."""


def distinct_label(report: Report) -> str:
    """Equal for reports that say the same.

    Normal reports are one; a report with findings is the set of them, without their order, their
    repetitions, and the words they came from (``text``, ``text_zh``); any other is its text,
    normalised; without text it is its id.

    Example:
        >>> from selip_core.findings import Finding
        >>> one = Report(id="1", findings=(Finding(site="pons", signal="high", text="Bright."),))
        >>> two = Report(id="2", findings=(Finding(site="pons", signal="high", text="High."),))
        >>> distinct_label(one) == distinct_label(two)
        True
    """
    if report.normal:
        return NORMAL
    if report.findings:
        statements = {
            json.dumps(
                {
                    field: finding.value(field)
                    for field in finding.model_dump(exclude_none=True)
                    if not field.startswith("text")
                },
                ensure_ascii=False,
                sort_keys=True,
            )
            for finding in report.findings
        }
        return "findings:" + "\n".join(sorted(statements))
    if report.text:
        return "text:" + normalize_text(report.text).strip()
    return "id:" + report.id


def distinct_labels(reports: Sequence[Report]) -> list[str]:
    """``distinct_label`` of each."""
    return [distinct_label(report) for report in reports]
