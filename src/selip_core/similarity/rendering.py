"""Findings as words, for encoders of texts."""

import string
from collections.abc import Iterator
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from selip_core.findings import Finding, Report

_SEPARATORS = " ,;:.、，；：。"


@final
class Template:
    """Renders findings by a template such as ``"{site}, {laterality} side: {signal}"``.

    A missing or blank field is left out with the words before it; a finding without any is not
    rendered.

    Args:
        template: Words, and names of fields in braces; ``{{`` and ``}}`` are braces.
        negated: How a negated finding is rendered, ``{}`` being its words; ``None`` leaves it out.

    Raises:
        ValueError: If the template names no field, or is not of this form.

    Example:
        >>> from selip_core import Finding
        >>> template = Template("{laterality} {site}, {signal} signal")
        >>> template.render(Finding(site="pons", signal="high"))
        'pons, high signal'
        >>> template.render(Finding(site="pons", signal="high", negated=True))
        'no pons, high signal'
        >>> template.render(Finding(modality="T2")) is None
        True
    """

    def __init__(self, template: str, negated: str | None = "no {}") -> None:
        self._pieces, self._end = _parsed(template)
        if negated is not None and negated.count("{}") != 1:
            raise ValueError(
                "negated must hold {} once, in place of the finding's words, or be None, got "
                f"{negated!r}"
            )
        self._negated = negated

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it reads."""
        return tuple(field for _, field in self._pieces)

    def render(self, finding: "Finding") -> str | None:
        """Return the words of a finding, or ``None`` if it has none of the fields."""
        if finding.negated and self._negated is None:
            return None
        words = ""
        for before, field in self._pieces:
            value = finding.value(field)
            if value is not None and value.strip():
                words += (before if words else before.lstrip(_SEPARATORS)) + value
        if not words:
            return None
        words = " ".join((words + self._end).split())
        return self._negated.replace("{}", words) if finding.negated and self._negated else words

    def render_all(self, report: "Report") -> tuple[str, ...]:
        """Return the words of a report's findings, sorted; none for a normal report."""
        found = () if report.normal else map(self.render, report.findings)
        return tuple(sorted(words for words in found if words is not None))


def _parsed(template: str) -> tuple[list[tuple[str, str]], str]:
    """Return each field with the words before it, and the words at the end."""
    pieces, before = [], ""
    for words, field in _parts(template):
        before += words
        if field is not None:
            pieces.append((before, field))
            before = ""
    if not pieces:
        raise ValueError(
            "a template of findings must name fields in braces, as '{site} {signal}' does, got "
            f"{template!r}"
        )
    return pieces, before


def _parts(template: str) -> Iterator[tuple[str, str | None]]:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"the template {template!r} cannot be read: {error}") from error
    for words, field, specification, conversion in parsed:
        if field == "" or specification or conversion:
            raise ValueError(f"braces of a template must hold a field's name, got {template!r}")
        yield words, field
