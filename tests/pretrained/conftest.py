"""A kind of its own: a linear layer, saved by its sizes."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from selip_core.pretrained import STRICT, Kind, PretrainedModule, kinds, register_kind
from selip_core.pretrained.source import WeightsSource


class Layer(PretrainedModule):
    """A linear layer, and optionally one that is tied to it."""

    def __init__(self, inputs, outputs, tied=False):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        if tied:
            self.twin = nn.Linear(inputs, outputs, bias=False)
            self.twin.weight = self.layer.weight
        self.register_buffer("scale", torch.full((2,), 1 / 3), persistent=False)
        self.tied = tied


@dataclass(frozen=True)
class SavedLayer:
    __pydantic_config__ = STRICT
    inputs: int
    outputs: int
    tied: bool = False


SOURCE = WeightsSource("layers", "CC-BY-4.0", "https://example.org/layers")


def make_kind(name="layer", sources=(SOURCE,)):
    return Kind(
        name=name,
        module=Layer,
        home="layers",
        task="feature-extraction",
        settings=SavedLayer,
        describe=lambda module, folder: SavedLayer(
            module.layer.in_features, module.layer.out_features, module.tied
        ),
        build=lambda saved, folder, where: Layer(saved.inputs, saved.outputs, saved.tied),
        facts=lambda module: {"Size": f"{module.layer.in_features} | {module.layer.out_features}"},
        sources=lambda module: list(sources),
    )


@pytest.fixture
def layer(monkeypatch):
    """Return the class of a registered kind."""
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    register_kind(make_kind())
    return Layer


@pytest.fixture
def layer_kind():
    """Make the kind, with the origins of its weights."""
    return make_kind
