import importlib
import sys
from pathlib import Path

from docutils import nodes

# Loaded before autodoc sets TYPE_CHECKING: pydantic does not survive being imported under it.
from pydantic import BaseModel  # noqa: F401
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from selip_core import __version__

sys.path[:0] = [str(Path(__file__).parent / "_extensions"), str(Path(__file__).parents[1])]
importlib.import_module("conftest")  # timm, for the table of encoders, also without torchvision

project = "selip-core"
author = "The selip-core authors"
copyright = f"{author}, Apache-2.0"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "benchmark_plot",
    "benchmark_results",
    "command_help",
    "encoder_table",
    "mathml",
    "python_figure",
    "weight_formats",
]
exclude_patterns = ["_build", "_extensions"]

html_theme = "furo"
html_title = f"selip-core {release}"
html_static_path = ["_static"]
html_css_files = ["selip.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "exclude-members": "model_config",
}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# Types and tensor shapes stand in the signatures, one parameter a line where they are long.
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 110
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Source"]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

ROOMS = (
    "findings", "similarity", "losses", "encoders", "text", "pretrained", "data", "evaluation",
    "recipes", "report",
)  # fmt: skip


def find_public_home(
    app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.Node
) -> nodes.reference | None:
    """Link a class by the package that offers it, where a signature names the file it is in."""
    module, _, name = node.get("reftarget", "").rpartition(".")
    for package in (f"selip_core.{room}" for room in ROOMS):
        if module.startswith(package) and name in importlib.import_module(package).__all__:
            domain, target = env.domains.python_domain, f"{package}.{name}"
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, "class", target, node, content
            )
    return None


def leave_out_private_bases(
    app: Sphinx, name: str, obj: type, options: object, bases: list[type]
) -> None:
    """Tell the public base of a class where its own base is a private one."""
    while bases[0].__name__.startswith("_") and bases[0].__bases__ != (object,):
        bases[:] = bases[0].__bases__


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-bases", leave_out_private_bases)
    app.connect("missing-reference", find_public_home)
