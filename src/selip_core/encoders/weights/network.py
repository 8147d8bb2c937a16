"""An encoder's tensors under their names, sorted by what weights from elsewhere can bring."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.spec import Size
from selip_core.encoders.weights.layout import Tensors

POOLING = "pooling."


@dataclass(frozen=True)
class Place:
    """One tensor of an encoder.

    Attributes:
        names: Its names: some networks know a layer by several.
        tensor: The parameter or buffer itself.
        is_parameter: Whether it is learned.
    """

    names: tuple[str, ...]
    tensor: Tensor
    is_parameter: bool

    @property
    def name(self) -> str:
        """Its first name."""
        return self.names[0]

    @property
    def counts(self) -> bool:
        """Whether it is a parameter of the network, not of its pooling."""
        return self.is_parameter and not self.name.startswith(POOLING)


def places(encoder: ImageEncoder) -> list[Place]:
    """Return the tensors of an encoder, each once; not those that follow from its shapes."""
    names: dict[int, list[str]] = {}
    tensors: Tensors = encoder.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        if not is_derived(name):
            names.setdefault(id(tensor), []).append(name)
    return [
        Place(tuple(own), tensors[own[0]], isinstance(tensors[own[0]], nn.Parameter))
        for own in names.values()
    ]


def is_derived(name: str) -> bool:
    """Return whether a tensor follows from the network's shapes, and is no weight."""
    return name.endswith("relative_position_index")


def layers_with_tensors(encoder: ImageEncoder) -> set[str]:
    """Return the names of the modules that hold a parameter or buffer of their own."""
    return {name.rpartition(".")[0] for name in encoder.state_dict()} - {""}


def first_layer(encoder: ImageEncoder) -> Tensor | None:
    """Return the weight that is multiplied with the volume, if it is of a convolution."""
    for module in encoder.stages()[0]:
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                return layer.weight
    return None


def untold_options(
    encoder: ImageEncoder, trained_with: Mapping[str, str | int | None]
) -> dict[str, tuple[str | int | None, str | int]]:
    """Return what weights were trained with and the encoder was made with, where it has them."""
    # Some stems are one and the same in an encoder without the later stages.
    alike = getattr(encoder, "same_stems", ())
    told: dict[str, tuple[str | int | None, str | int]] = {}
    for option, theirs in trained_with.items():
        ours = getattr(encoder, option, None)
        if isinstance(ours, str | int):
            told[option] = (theirs, theirs if theirs is not None and theirs in alike else ours)
    return told


def patch_grid(encoder: ImageEncoder, count: int) -> Size | None:
    """Return the grid that an encoder's positional embeddings stand for, if it has so many."""
    grid: Size | None = getattr(encoder, "native_grid", None)
    return grid if grid is not None and math.prod(grid) == count else None


def window_of(encoder: ImageEncoder, name: str) -> Size | None:
    """Return the window of the attention that has the table of this name."""
    window = getattr(encoder.get_submodule(name.rpartition(".")[0]), "window_size", None)
    if window is None or len(window) != 3:
        return None
    depth, height, width = window
    return int(depth), int(height), int(width)
