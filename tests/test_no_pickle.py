"""No pickle is read or written, but by one program that is run in a process of its own."""

import ast
from pathlib import Path

import pytest

import selip_core

ROOT = Path(selip_core.__file__).parent
UNPICKLING = ROOT / "encoders" / "weights" / "unpickling.py"
PICKLING = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
SOURCES = [path for path in sorted(ROOT.rglob("*.py")) if path != UNPICKLING]


def calls(path):
    """Yield what is called in a file, as it is written, with the arguments by keyword."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {argument.arg for argument in node.keywords}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_pickled_in_this_process(path):
    found = [name for name in imports(path) if name.partition(".")[0] in PICKLING]
    found += [name for name in imports(path) if "weights.unpickling" in name]
    for name, keywords in calls(path):
        if name in {"torch.load", "torch.save"} or "allow_pickle" in keywords:
            found.append(name)
    assert found == []


def test_the_one_program_unpickles_weights_only():
    loads = [keywords for name, keywords in calls(UNPICKLING) if name == "torch.load"]
    assert [keywords >= {"weights_only", "map_location"} for keywords in loads] == [True]
    assert "weights_only=True" in UNPICKLING.read_text(encoding="utf-8")
    assert not any(name.partition(".")[0] in PICKLING for name in imports(UNPICKLING))
