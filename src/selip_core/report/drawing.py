"""Matplotlib figures as text that a page can hold."""

import base64
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from selip_core._optional import require
from selip_core.report.content import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Matplotlib knows no CSS: it draws in these colours, and the page's variables take their place, so
# that a chart follows the light and the dark scheme.
COLOURS = {
    "ink": "#010101",
    "muted": "#020202",
    "rule": "#030303",
    "paper": "#040404",
    "clip": "#050505",
    "similarity": "#060606",
}

_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["rule"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
}


@contextmanager
def chart(width: float, height: float) -> Iterator["Figure"]:
    """Yield an empty figure of this size in inches, to be drawn in :data:`COLOURS`."""
    matplotlib = require("matplotlib", "demo")
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def inline_svg(figure: "Figure", alt: str) -> str:
    """The figure as an ``<svg>`` element: scalable, in the page's colours and fonts.

    Example:
        >>> with chart(2, 1) as figure:
        ...     svg = inline_svg(figure, alt="nothing")
        >>> svg.partition(" viewBox")[0], "http" in svg
        ('<svg role="img" aria-label="nothing"', False)
    """
    import matplotlib

    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": alt}):  # one page holds several: ids must differ
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    head, _, body = buffer.getvalue().partition("</defs>")  # a style sheet: the page has its own
    view_box = re.search(r'viewBox="[^"]*"', head)
    assert view_box, "matplotlib writes a viewBox"
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    for name, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{name})")
    return f'<svg role="img" aria-label="{html.escape(alt)}" {view_box[0]}>{body.strip()}'


def png(figure: "Figure", alt: str, dots_per_inch: int = 100) -> Picture:
    """The figure as a PNG in a ``data:`` address."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/png;base64,{encoded}", alt)
