"""The page: a template, a style sheet, and the numbers as people read them."""

import math
from collections.abc import Mapping

from selip_core._optional import require
from selip_core.report.charts import matrix_chart, recall_chart
from selip_core.report.content import Page
from selip_core.report.slices import OUTLINES
from selip_core.report.table import MEASURES, number, signed, table_rows


def render_page(page: Page) -> str:
    """The page as one HTML document: it loads nothing, and runs nothing.

    Texts are escaped, whatever they hold.

    Raises:
        ImportError: If jinja2 or matplotlib are not installed; the message names the extra.
    """
    jinja2 = require("jinja2", "demo")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selip_core.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "signed": signed, "duration": duration}
    template = environment.get_template("template.html.j2")
    html: str = template.render(
        page=page,
        pooled=[arm.retrieval["pooled"] for arm in page.arms],
        table_rows=table_rows,
        measures=MEASURES,
        span=_span(page.differences),
        matrices=[(each, matrix_chart(each.values, each.title)) for each in page.matrices],
        recall=recall_chart(page.arms),
        outlines=OUTLINES,
    )
    return html


def _span(differences: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """How far from 0 the lines of differences reach: the farthest end, rounded up to a tenth."""
    ends = [
        abs(figure[end])
        for figures in differences.values()
        for figure in figures.values()
        for end in ("low", "high")
    ]
    return max(1, math.ceil(10 * max(ends, default=0.0))) / 10


def duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> duration(8.31), duration(192.0)
        ('8.3 s', '3 min 12 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
