"""Which reports say the same: one label for each distinct report."""

import json

from selip_core.findings.finding import Finding, normalize_text
from selip_core.findings.report import Report

NORMAL_LABEL = "normal"
"""The label of every report that is declared normal."""


def distinct_label(report: Report) -> str:
    """Equal for reports that say the same.

    Normal reports are one; a report with findings is the set of them, without their order, their
    repetitions, and the words they came from (``text``, ``text_zh``) unless they have no other
    field; any other is its text, normalised; without text it is its id.

    Example:
        >>> from selip_core.findings import Finding
        >>> one = Report(id="1", findings=(Finding(site="pons", signal="high", text="Bright."),))
        >>> two = Report(id="2", findings=(Finding(site="pons", signal="high", text="High."),))
        >>> distinct_label(one) == distinct_label(two)
        True
    """
    if report.normal:
        return NORMAL_LABEL
    if report.findings:
        return "findings:" + "\n".join(sorted(set(map(_statement, report.findings))))
    if report.text:
        return "text:" + normalize_text(report.text).strip()
    return "id:" + report.id


def _statement(finding: Finding) -> str:
    """Return what a finding states: its fields, or its words where it has no other field."""
    values = {field: finding.value(field) for field in finding.model_dump(exclude_none=True)}
    fields = {f: v for f, v in values.items() if f != "text" and not f.startswith("text_")}
    stated = values if set(fields) <= {"negated"} else fields
    return json.dumps(stated, ensure_ascii=False, sort_keys=True)
