"""The public surface is what it is meant to be, and importing it is cheap."""

import subprocess
import sys

import pytest

import selip_core

PUBLIC = [
    "DualEncoder",
    "Finding",
    "Report",
    "SemanticSimilarity",
    "SimilarityCLIPLoss",
    "StudyEncoder",
    "SyntaxSimilarity",
    "__version__",
    "bidirectional_logsumexp",
    "cached_contrastive_step",
    "create_image_encoder",
    "list_image_encoders",
    "register_image_encoder",
    "similarity_clip_loss",
]
HEAVY = [
    "accelerate",
    "matplotlib",
    "monai",
    "nibabel",
    "pydantic",
    "rapidfuzz",
    "safetensors",
    "sentence_transformers",
    "transformers",
    "triton",
]


def heavy_modules_after(code):
    probe = f"{code}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    finished = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    return finished.stdout.split()


def test_list_of_public_names():
    assert sorted(selip_core.__all__) == PUBLIC
    assert dir(selip_core) == selip_core.__all__
    for name in PUBLIC:
        assert getattr(selip_core, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'SimilarityClipLoss'"):
        _ = selip_core.SimilarityClipLoss


def test_import_loads_nothing_heavy():
    assert heavy_modules_after("import selip_core") == []


def test_operators_need_torch_and_jaxtyping_alone():
    code = (
        "import sys\n"
        "for name in ('numpy', 'pydantic', 'rapidfuzz', 'safetensors', 'tqdm'):\n"
        "    sys.modules[name] = None\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "import torch; from selip_core.similarity import SyntaxSimilarity, Dense"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name",
    ["SimilarityCLIPLoss", "bidirectional_logsumexp", "list_image_encoders", "DualEncoder"],
)
def test_names_that_need_only_torch_load_nothing_heavy(name):
    # torch brings triton along where it has it
    loaded = heavy_modules_after(f"from selip_core import {name}")
    assert [module for module in loaded if module != "triton"] == []


def test_version_of_the_command_line_loads_nothing_heavy():
    code = (
        "import contextlib, selip_core.cli\n"
        "with contextlib.suppress(SystemExit):\n"
        "    selip_core.cli.main(['--version'])"
    )
    assert [name for name in heavy_modules_after(code) if name in HEAVY] == []
