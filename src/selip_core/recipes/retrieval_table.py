"""The figures of retrieval as a plain table."""

from typing import Any

_SHOWN = ("R@1", "R@5", "R@10", "nDCG@10")
_TITLES = {
    ("abnormal", "image_to_text"): "abnormal volume -> report",
    ("abnormal", "text_to_image"): "abnormal report -> volume",
    ("normal", "image_to_text"): "normal volume -> report",
}


def retrieval_table(result: dict[str, Any]) -> str:
    """One line a figure of what ``retrieve`` returned: value, interval, chance, gallery.

    Example:
        >>> figure = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
        >>> direction = {"queries": 20, "gallery": 10.0, "R@1": figure}
        >>> pooled = {"abnormal": {"image_to_text": direction}}
        >>> print(retrieval_table({"sequences": {}, "pooled": pooled}))
        sequence                            figure    value  95 % interval  chance  queries  gallery
        all       abnormal volume -> report R@1       0.500  0.400 - 0.600   0.100       20       10
    """
    header = ("sequence", "", "figure", "value", "95 % interval", "chance", "queries", "gallery")
    lines = [_line(*header)]
    for sequence, section in {**result["sequences"], "all": result["pooled"]}.items():
        for (part, direction), title in _TITLES.items():
            figures = section.get(part, {}).get(direction, {})
            for name in _SHOWN:
                if name in figures:
                    counts = f"{figures['queries']}", f"{figures['gallery']:g}"
                    lines.append(_line(sequence, title, name, *_cells(figures[name]), *counts))
        if "normal" in section:
            figure = section["normal"]["normal_against_abnormal"]
            counts = f"{figure['normal']}+{figure['abnormal']}", ""
            lines.append(_line(sequence, "normal or abnormal", "AUC", *_cells(figure), *counts))
    return "\n".join(lines)


def _cells(figure: dict[str, float]) -> tuple[str, str, str]:
    interval = f"{figure['low']:.3f} - {figure['high']:.3f}"
    return f"{figure['value']:.3f}", interval, f"{figure['chance']:.3f}"


def _line(
    sequence: str, title: str, name: str, value: str, interval: str, chance: str, *counts: str
) -> str:
    queries, gallery = counts
    return (
        f"{sequence:<8}  {title:<25} {name:<8}  {value:>5}  {interval:>13}  {chance:>6}  "
        f"{queries:>7}  {gallery:>7}"
    ).rstrip()
