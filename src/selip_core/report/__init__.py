"""A page that tells a person what a comparison of two models came to: one self-contained file."""

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
]
