"""Small encoders and volumes for the tests of encoders."""

import sys

import pytest
import torch

from selip_core.encoders import create_image_encoder


@pytest.fixture
def create_small():
    """Create an encoder of any registered name, small enough for one core."""

    def create(name, **options):
        torch.manual_seed(0)
        return create_image_encoder(name, embed_dim=6, width=1 / 16, **options)

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
