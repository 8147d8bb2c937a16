"""A report: an id, its findings, and the text they came from."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from selip_core.findings.finding import Finding
from selip_core.findings.json_values import JsonField


class Report(BaseModel):
    """What one report says about one study or one sequence.

    Attributes:
        id: Names the report; equal ids mean the same report.
        findings: The statements, in the order of the report.
        text: The report as written.
        normal: True if the report says that nothing is abnormal. Without findings and without this
            declaration the report is *unknown*, and similar only to itself.

    Any other key is kept and survives a round trip through JSON.

    Raises:
        pydantic.ValidationError: If a field has the wrong type, one of another name holds what JSON
            cannot (NaN for one), the id is empty, or a normal report affirms a finding. It is a
            ``ValueError``.

    Example:
        >>> report = Report(id="a", findings=[Finding(site="pons", signal="high")])
        >>> report.findings[0].site, report.is_unknown
        ('pons', False)
        >>> Report(id="b").is_unknown
        True
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, hide_input_in_errors=True)
    __pydantic_extra__: dict[str, JsonField] = Field(init=False)

    id: str = Field(min_length=1)
    findings: tuple[Finding, ...] = Field(default=(), strict=False)
    text: str | None = None
    normal: bool | None = None

    @model_validator(mode="after")
    def _normal_affirms_nothing(self) -> Self:
        if self.normal and any(not finding.negated for finding in self.findings):
            raise ValueError(
                "a report with normal = true may hold negated findings only, got an affirmed one; "
                "correct 'normal' or mark the finding as 'negated'"
            )
        return self

    @property
    def is_unknown(self) -> bool:
        """True without findings and without being declared normal."""
        return not self.findings and not self.normal
