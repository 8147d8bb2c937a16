"""The page of the command line has a section for every subcommand."""

import re
from pathlib import Path

from selip_core.cli.main import SUBCOMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_every_subcommand_is_shown():
    shown = re.findall(r"^```\{command-help\} (\S+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(name.replace("_", "-") for name in SUBCOMMANDS)
