"""The page: a template, a style sheet, and the numbers as people read them."""

from selip_core._optional import require
from selip_core.report.charts import matrix_chart, recall_chart
from selip_core.report.content import Page
from selip_core.report.slices import OUTLINES
from selip_core.report.table import number, table_rows


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
    environment.filters |= {"number": number, "duration": duration}
    template = environment.get_template("template.html.j2")
    html: str = template.render(
        page=page,
        pooled=[arm.retrieval["pooled"] for arm in page.arms],
        table_rows=table_rows,
        matrices=[(each, matrix_chart(each.values, each.title)) for each in page.matrices],
        recall=recall_chart(page.arms),
        outlines=OUTLINES,
    )
    return html


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
