"""The directive ``command-help``: the help of the command line as it is when the page is built."""

import argparse
import os
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from selip_core.cli.main import build_parser

COLUMNS = "88"


class CommandHelp(Directive):
    """Show the help of ``selip``, or of the subcommand that is named, or of one of its own."""

    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Return the help as a literal block."""
        parser = build_parser()
        for name in self.arguments:
            parser = find_subparser(parser, name)
        os.environ["COLUMNS"] = COLUMNS
        text = parser.format_help()
        return [nodes.literal_block(text, text, language="none")]


def find_subparser(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    """Return the parser of a subcommand."""
    actions = parser._subparsers._group_actions  # type: ignore[union-attr]  # argparse has no way
    choices: dict[str, argparse.ArgumentParser] = actions[0].choices  # type: ignore[assignment]
    return choices[name]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
