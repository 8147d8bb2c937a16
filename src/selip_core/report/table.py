"""The figures of two arms, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MEASURES = ("R@1", "R@5", "R@10", "nDCG@10")
_DIRECTIONS = {"image_to_text": "image to report", "text_to_image": "report to image"}


def table_rows(
    sections: Sequence[Mapping[str, Any]], part: str, direction: str
) -> Iterator[tuple[str, list[Mapping[str, float]], float]]:
    """Rows of a table: measure, its figure for each arm, and the gallery size.

    Args:
        sections: One an arm: ``retrieve``'s ``pooled``, or that of a sequence.
        part: ``"abnormal"`` or ``"normal"``.
        direction: ``"image_to_text"`` or ``"text_to_image"``.

    Example:
        >>> figure = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
        >>> section = {"abnormal": {"image_to_text": {"gallery": 9.0, "R@1": figure}}}
        >>> [row[0] for row in table_rows([section], "abnormal", "image_to_text")]
        ['R@1']
    """
    found = [section.get(part, {}).get(direction, {}) for section in sections]
    for measure in MEASURES:
        if all(measure in figures for figures in found):
            yield measure, [figures[measure] for figures in found], found[0]["gallery"]


def number(value: float) -> str:
    """Two decimals for what lies in [0, 1], three where two would show nothing.

    Example:
        >>> number(0.256), number(0.004), number(0.0)
        ('0.26', '0.004', '0.00')
    """
    return f"{value:.3f}" if 0 < value < 0.01 else f"{value:.2f}"


def comparison_table(retrievals: Mapping[str, Mapping[str, Any]]) -> str:
    """Plain text: abnormal volumes and reports, each figure with its 95 % interval and chance.

    Args:
        retrievals: By name of the arm, what ``retrieve`` returned.

    Example:
        >>> figure = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
        >>> direction = {"queries": 20, "gallery": 9.0, "R@1": figure}
        >>> retrieval = {"pooled": {"abnormal": {"image_to_text": direction}}}
        >>> print(comparison_table({"Plain CLIP": retrieval}))
                                  Plain CLIP           chance  gallery
        image to report  R@1      0.50 (0.40-0.60)       0.10        9
    """
    names = "  ".join(f"{name:<19}" for name in retrievals)
    lines = [f"{'':<26}{names}  chance  gallery"]
    sections = [retrieval["pooled"] for retrieval in retrievals.values()]
    for direction, title in _DIRECTIONS.items():
        for measure, figures, gallery in table_rows(sections, "abnormal", direction):
            cells = "  ".join(f"{_with_interval(figure):<19}" for figure in figures)
            chance = number(figures[0]["chance"])
            lines.append(f"{title:<15}  {measure:<7}  {cells}  {chance:>6}  {gallery:>7g}")
    return "\n".join(lines)


def _with_interval(figure: Mapping[str, float]) -> str:
    return f"{number(figure['value'])} ({number(figure['low'])}-{number(figure['high'])})"
