"""What a person reads of retrieval: a page of two models, one self-contained file, and a table."""

from selip_core.report.content import (
    Arm,
    ArmKey,
    HeldOutImage,
    NearestReport,
    Page,
    Picture,
    ReportTexts,
    SampleStudy,
    SimilarityMatrix,
)
from selip_core.report.page import render_page
from selip_core.report.table import retrieval_table

__all__ = [
    "Arm",
    "ArmKey",
    "HeldOutImage",
    "NearestReport",
    "Page",
    "Picture",
    "ReportTexts",
    "SampleStudy",
    "SimilarityMatrix",
    "render_page",
    "retrieval_table",
]
