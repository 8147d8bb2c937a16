"""The figures of one run, or of several side by side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

MEASURES = ("R@1", "R@5", "R@10", "nDCG@10", "kind@1")
_TITLES = {
    ("abnormal", "image_to_text"): "abnormal volume -> report",
    ("abnormal", "text_to_image"): "abnormal report -> volume",
    ("normal", "image_to_text"): "normal volume -> report",
}
_CELL = 23

Figure = Mapping[str, float]
Section = Mapping[str, Any]
"""What ``retrieve`` returns as ``pooled``, or for a sequence."""


def table_rows(
    sections: Sequence[Section], part: str, direction: str
) -> list[tuple[str, list[Figure]]]:
    """Rows of a table: a measure that all sections have, and its figure in each.

    Args:
        sections: One a run.
        part: ``"abnormal"`` or ``"normal"``.
        direction: ``"image_to_text"`` or ``"text_to_image"``.

    Example:
        >>> figure = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
        >>> section = {"abnormal": {"image_to_text": {"gallery": 9.0, "R@1": figure}}}
        >>> [measure for measure, _ in table_rows([section], "abnormal", "image_to_text")]
        ['R@1']
    """
    found = [section.get(part, {}).get(direction, {}) for section in sections]
    return [
        (measure, [figures[measure] for figures in found])
        for measure in MEASURES
        if all(measure in figures for figures in found)
    ]


def retrieval_table(
    retrievals: Mapping[str, Mapping[str, Any]],
    differences: Mapping[str, Mapping[str, Figure]] | None = None,
) -> str:
    """Plain text: every figure with its 95 % interval and chance, a column a run.

    Args:
        retrievals: By heading, what ``retrieve`` returned.
        differences: Of all sequences together: what ``compare`` returned.

    Example:
        >>> figure = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
        >>> pooled = {"abnormal": {"image_to_text": {"queries": 20, "gallery": 9.0, "R@1": figure}}}
        >>> print(retrieval_table({"Plain CLIP": {"sequences": {"T2": pooled}, "pooled": pooled}}))
        T2, abnormal volume -> report, 20 queries, gallery of 9
                   Plain CLIP             chance
        R@1        0.500 (0.400 - 0.600)   0.100
    """
    results = list(retrievals.values())
    together = [result["pooled"] for result in results]
    names = list(results[0]["sequences"])
    if len(names) == 1:
        parts = [_part(names[0], retrievals, together, differences)]
    else:
        parts = [
            _part(name, retrievals, [result["sequences"][name] for result in results], None)
            for name in names
        ]
        parts.append(_part("All sequences", retrievals, together, differences))
    return "\n\n".join(group for part in parts for group in part)


def number(value: float) -> str:
    """Two decimals for what lies in [0, 1], three where two would show nothing.

    Example:
        >>> number(0.256), number(0.004), number(0.0)
        ('0.26', '0.004', '0.00')
    """
    return f"{value:.3f}" if 0 < value < 0.01 else f"{value:.2f}"


def signed(value: float) -> str:
    """A difference with its sign, a true minus among them.

    Example:
        >>> signed(0.256), signed(-0.1), signed(-0.001)
        ('+0.26', '−0.10', '0.00')
    """
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def _part(
    name: str,
    headings: Iterable[str],
    sections: Sequence[Section],
    differences: Mapping[str, Mapping[str, Figure]] | None,
) -> Iterator[str]:
    """Yield the groups of one sequence, a title and a line a measure."""
    for (part, direction), title in _TITLES.items():
        rows = table_rows(sections, part, direction)
        if rows:
            about = sections[0][part][direction]
            size = f"{about['queries']} queries, gallery of {about['gallery']:g}"
            gains = (differences or {}).get(direction, {}) if part == "abnormal" else {}
            yield _group(f"{name}, {title}, {size}", headings, rows, gains)
    if all("normal" in section for section in sections):
        figures = [section["normal"]["normal_against_abnormal"] for section in sections]
        counts = f"{figures[0]['normal']} and {figures[0]['abnormal']} volumes"
        yield _group(f"{name}, normal or abnormal, {counts}", headings, [("AUC", figures)], {})


def _group(
    title: str,
    headings: Iterable[str],
    rows: Sequence[tuple[str, Sequence[Figure]]],
    gains: Mapping[str, Figure],
) -> str:
    columns = [*headings, *(["difference"] if gains else [])]
    lines = [title, _line("", columns, "chance")]
    for measure, figures in rows:
        cells = [_cell(figure, ".3f") for figure in figures]
        if gains:
            cells.append(_cell(gains[measure], "+.3f") if measure in gains else "")
        lines.append(_line(measure, cells, f"{figures[0]['chance']:.3f}"))
    return "\n".join(lines)


def _line(measure: str, cells: Sequence[str], chance: str) -> str:
    return f"{measure:<9}  " + "".join(f"{cell:<{_CELL + 2}}" for cell in cells) + f"{chance:>6}"


def _cell(figure: Figure, form: str) -> str:
    return f"{figure['value']:{form}} ({figure['low']:{form}} - {figure['high']:{form}})"
