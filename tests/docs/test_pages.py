"""Every Python block of the documentation runs; what a page prints is what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from selip_core.encoders import registry

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "api").glob("*.md")),
]
BLOCK = re.compile(r"^```(python|text|\{python-figure\})\n(.*?)^```", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"^:\w+: .*\n", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_run_and_print_what_follows_them(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A page may register an encoder; other tests must not see it.
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    namespace = {"__name__": "page"}
    printed = ""
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "text":
            assert block.split() == printed.split()
            continue
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(OPTION.sub("", block), page.name, "exec"), namespace)
        printed = output.getvalue()
