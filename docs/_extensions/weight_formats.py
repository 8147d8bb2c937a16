"""The directives ``weight-formats`` and ``weight-facts``: what is known of published weights."""

import importlib
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx

from selip_core.encoders.weights import WEIGHT_FORMATS, WeightFormat
from selip_core.encoders.weights import formats as layouts

HEADER = ["format", "encoder", "licence", "volumes"]


class MarkdownDirective(Directive):
    """Show what is written in Markdown."""

    def lines(self) -> list[str]:
        """Return the lines."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return what they are parsed to."""
        parent = nodes.container()
        self.state.nested_parse(StringList(self.lines(), "weight formats"), 0, parent)
        return parent.children


class WeightFormats(MarkdownDirective):
    """Show a row for each format."""

    def lines(self) -> list[str]:
        """Return a table."""
        rows = [HEADER, ["---"] * len(HEADER), *map(row_of, WEIGHT_FORMATS.values())]
        return ["| " + " | ".join(row) + " |" for row in rows]


class WeightFacts(MarkdownDirective):
    """Show the facts of each format, as they stand where its rules are."""

    def lines(self) -> list[str]:
        """Return a paragraph for each."""
        lines = []
        for name in WEIGHT_FORMATS:
            module = importlib.import_module(f"{layouts.__name__}.{name.replace('-', '_')}")
            summary, _, facts = (module.__doc__ or "").partition("\n\nFacts:\n")
            lines += [f"**{name}.** {summary}", *map(str.strip, facts.splitlines()), ""]
        return lines


def row_of(layout: WeightFormat) -> list[str]:
    """Return what is told of a format."""
    source = layout.source
    name = f"[{layout.name}]({source.url})" if source.url else layout.name
    spacing = layout.spacing and " x ".join(f"{each:g}" for each in layout.spacing) + " mm"
    axes = layout.orientation and f"axes to {layout.orientation}"
    known = [each for each in (layout.intensity, spacing, axes) if each]
    return [name, layout.encoders, source.licence, "; ".join(known) or "not told"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("weight-formats", WeightFormats)
    app.add_directive("weight-facts", WeightFacts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
