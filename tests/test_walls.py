"""Imports flow one way between the rooms of the house, and never in a circle."""

import ast
from pathlib import Path

import pytest

import selip_core

ROOT = Path(selip_core.__file__).parent
FOUNDATION = {
    "_assertions",
    "_optional",
    "_version",
    "containers",
    "digests",
    "documents",
    "errors",
    "files",
    "folders",
    "interruption",
    "jsonl",
    "model_folders",
    "model_weights",
    "strict_json",
    "tensor_files",
    "validation_messages",
    "weight_values",
}
MAY_IMPORT = {
    "findings": set(),
    "similarity": {"findings"},
    "losses": {"similarity"},
    "testing": {"losses"},
    "pretrained": set(),
    "encoders": {"pretrained"},
    "text": {"pretrained"},
    "dual_encoder": {"encoders", "pretrained", "text"},
    "data": {"findings"},
    "simulation": {"findings", "data"},
    "evaluation": {"findings"},
    "report": set(),
    "recipes": {
        "data",
        "dual_encoder",
        "encoders",
        "evaluation",
        "findings",
        "losses",
        "pretrained",
        "report",
        "similarity",
        "simulation",
        "text",
    },
    "cli": {
        "data",
        "encoders",
        "evaluation",
        "findings",
        "recipes",
        "report",
        "similarity",
        "simulation",
        "testing",
    },
}


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported_modules(name):
    """Return the modules of this package that a module imports, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            source = node.module or ""
            submodules = {f"{source}.{alias.name}" for alias in node.names}
            found |= (submodules & set(MODULES)) or {source}
    return {module for module in found if module.partition(".")[0] == "selip_core"}


def room(module):
    return module.split(".")[1] if "." in module else None


def test_every_room_is_listed():
    rooms = {room(name) for name in MODULES} - {None, "__main__"}
    assert rooms == set(MAY_IMPORT) | (FOUNDATION & rooms)


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in MAY_IMPORT])
def test_imports_flow_one_way(name):
    allowed = MAY_IMPORT[room(name)] | FOUNDATION | {room(name)}
    foreign = {module for module in imported_modules(name) if room(module) not in allowed}
    assert foreign == set(), f"{name} may import {sorted(allowed)} only"


def test_losses_know_only_the_operators_of_similarity():
    for name in MODULES:
        if room(name) == "losses":
            for module in imported_modules(name):
                if room(module) == "similarity":
                    assert module.startswith("selip_core.similarity.operators")


def test_the_dual_encoder_knows_encoders_only_to_load_them():
    for name in MODULES:
        if room(name) == "dual_encoder" and name != "selip_core.dual_encoder.saving":
            assert {room(module) for module in imported_modules(name)} <= {
                "dual_encoder",
                "pretrained",
            }


def test_no_import_circles():
    graph = {
        name: {m for m in imported_modules(name) if m in MODULES and m != name}
        for name in MODULES
        if name != "selip_core"
    }
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done or name not in graph:
            return
        path.append(name)
        for imported in sorted(graph[name]):
            visit(imported)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)
