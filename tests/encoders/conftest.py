"""Small encoders and volumes for the tests of encoders."""

import sys
from fnmatch import fnmatch

import pytest
import torch

from selip_core.encoders import create_image_encoder, list_image_encoders

# Of each family: its names, options that make one small, and which of them run on real numbers
# (deeper ones run the same code with more blocks, for longer).
FAMILIES = [
    ("resnet*", {"width": 1 / 16}, ["resnet10", "resnet50"]),
    ("resenc_unet", {"width": 1 / 16, "n_blocks_per_stage": (1,) * 6}, ["resenc_unet"]),
    (
        "slicewise*",
        {"model": "test_resnet", "model_options": {"zero_init_last": False}},
        ["slicewise"],
    ),
    ("vit_*", {"width": 1 / 16, "patch_size": (4, 16, 16), "layers": 4}, ["vit_small"]),
    ("swin_*", {"width": 1 / 4, "window": (2, 2, 2)}, ["swin_tiny"]),
    ("densenet*", {"width": 1 / 16, "stem_stride": (1, 2, 2)}, ["densenet121"]),
    ("seresnet*", {"stem_stride": (1, 2, 2), "stages": 1}, ["seresnet50"]),
    ("efficientnet_*", {}, ["efficientnet_b0"]),
    ("segresnet", {"width": 1 / 4}, ["segresnet"]),
    ("mednext_*", {}, ["mednext_small"]),
]


def pytest_generate_tests(metafunc):
    """Run a test for each registered encoder (``any_name``) or one or two a family (``name``)."""
    if "any_name" in metafunc.fixturenames:
        metafunc.parametrize("any_name", list_image_encoders())
    by_family = metafunc.module.__name__.endswith(("test_contract", "test_saving"))
    if "name" in metafunc.fixturenames and by_family:
        metafunc.parametrize("name", [name for _, _, names in FAMILIES for name in names])


@pytest.fixture(scope="session")
def small_options():
    """Options that make an encoder of this name small, or None."""

    def find(name):
        return next((options for pattern, options, _ in FAMILIES if fnmatch(name, pattern)), None)

    return find


@pytest.fixture
def create_small(small_options):
    """Create an encoder of any registered name, small enough for one core."""

    def create(name, **options):
        torch.manual_seed(0)
        try:
            return create_image_encoder(name, embed_dim=6, **(small_options(name) | options))
        except ImportError as error:
            pytest.skip(str(error))

    return create


@pytest.fixture
def hide_package(monkeypatch):
    """Make a package as good as not installed."""

    class Hidden:
        def __init__(self, package):
            self.package = package

        def find_spec(self, name, path=None, target=None):
            if name == self.package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def hide(package):
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [Hidden(package), *sys.meta_path])

    return hide
