"""The directive ``python-figure``: a Python block, shown, and the figure that it draws.

The block stands alone and leaves a matplotlib figure in the variable ``figure``. It is run when the
documentation is built, and by the tests of the documentation like any other block.
"""

import io
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx


class PythonFigure(Directive):
    """Show a block of code and its figure, with ``:alt:`` for those who cannot see it."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Return the code and the figure."""
        if "alt" not in self.options:
            raise self.error("python-figure needs :alt:, what the figure shows")
        code = "\n".join(self.content)
        namespace: dict[str, Any] = {"__name__": "figure"}
        exec(compile(code, "python-figure", "exec"), namespace)
        shown = nodes.literal_block(code, code, language="python")
        return [shown, nodes.raw("", svg(namespace["figure"], self.options["alt"]), format="html")]


def svg(figure: Any, alt: str) -> str:
    """Return a matplotlib figure as SVG to be put into a page, the same at every build."""
    import matplotlib

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "selip-core"}):
        figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None})
    picture = drawn.getvalue()
    picture = picture[picture.index("<svg") :]
    escaped = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    # White paper, since the figure's colours are chosen for it, in a dark theme too.
    style = "max-width: 100%; height: auto; background: white; padding: 0.5em;"
    return picture.replace("<svg", f'<svg role="img" aria-label="{escaped}" style="{style}"', 1)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("python-figure", PythonFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
