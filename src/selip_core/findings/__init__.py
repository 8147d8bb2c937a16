"""Findings: what a report says, as structured statements."""

from selip_core.findings.distinct import NORMAL_LABEL, distinct_label
from selip_core.findings.finding import Finding, normalize_text
from selip_core.findings.jsonl import read_reports, write_reports
from selip_core.findings.paper_text import PAPER_NORMAL_TEXT, parse_paper_text
from selip_core.findings.report import Report

__all__ = [
    "NORMAL_LABEL",
    "PAPER_NORMAL_TEXT",
    "Finding",
    "Report",
    "distinct_label",
    "normalize_text",
    "parse_paper_text",
    "read_reports",
    "write_reports",
]
