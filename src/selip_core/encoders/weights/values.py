"""Check the types and values of a file's tensors before they are loaded into an encoder."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.weights.layout import Tensors
from selip_core.encoders.weights.matching import Match
from selip_core.weight_values import CONSTANT, FLOATS, is_nonzero, wrong_value


def wrong_types(tensors: Tensors, targets: Mapping[str, str], known: Tensors) -> list[str]:
    """Return names and types of tensors that cannot be the weights their names say.

    Args:
        tensors: The file's tensors.
        targets: The name in the encoder, by the name in the file.
        known: The encoder's tensors.

    Example:
        >>> tensors = {"a.weight": torch.ones(2, dtype=torch.int8), "a.bias": torch.ones(2)}
        >>> wrong_types(tensors, {name: name for name in tensors}, {})
        ['a.weight (int8)']
    """
    return [
        f"{name} ({str(tensors[name].dtype).removeprefix('torch.')})"
        for name, target in targets.items()
        if tensors[name].dtype not in FLOATS and _must_be_float(tensors[name], target, known)
    ]


def _must_be_float(tensor: Tensor, target: str, known: Tensors) -> bool:
    if target in known:
        return known[target].is_floating_point()
    # Where the encoder has no such name, as of packed weights, eight bits are a quantised layer.
    return tensor.element_size() == 1 and "weight" in target.rpartition(".")[2]


def wrong_values(encoder: ImageEncoder, found: Match) -> dict[str, list[str]]:
    """Return names in the encoder, by what is wrong with the values that the file has for them.

    A tensor that is all zero is wrong where it is multiplied with (the weight of a convolution or
    of a linear layer, a running variance), unless it is zero in the encoder too, as residual
    branches may start. Biases, running means, positions and tables are added, and may be zero.
    """
    problems: dict[str, list[str]] = {}
    for place, value in found.matched:
        kind = wrong_value(place.name, place.tensor, value, place.is_parameter)
        if kind is not None:
            problems.setdefault(kind, []).append(place.name)
    if not problems and (constant := _constant_scales(encoder, found)):
        problems[CONSTANT] = constant
    return problems


def _constant_scales(encoder: ImageEncoder, found: Match) -> list[str]:
    """Return the vectors that are all zero in the file, if they make the features constant.

    The scale of a residual branch may be zero: many networks start so. On the way of all features
    it leaves nothing of the volume, so those of two random volumes are compared.
    """
    zero = [
        place.name
        for place, value in found.matched
        if place.is_parameter and value.ndim == 1 and not bool(value.any())
        if is_nonzero(place.tensor)
    ]
    return [] if not zero or _features_differ(encoder, found) else zero


def _features_differ(encoder: ImageEncoder, found: Match) -> bool:
    """Whether the coarsest maps of two volumes differ, with the file's values in evaluation."""
    values = {
        f"encoder.{place.name}": value.to(place.tensor)
        for place, value in (*found.matched, *found.filled)
    }
    spec = encoder.spec
    depth, height, width = (2 * stride for stride in spec.stage_strides[-1])
    size = spec.nearest_size((depth, height, width))
    generator = torch.Generator().manual_seed(0)
    volumes = torch.randn(2, spec.in_channels, *size, generator=generator)
    volumes = volumes.to(next(encoder.parameters()))
    training = {module: module.training for module in encoder.modules()}
    try:
        _set_training(dict.fromkeys(training, False))
        with torch.no_grad():
            maps = torch.func.functional_call(_Maps(encoder), values, (volumes,))
    finally:
        _set_training(training)
    return not torch.equal(maps[0], maps[1])


class _Maps(nn.Module):
    """The coarsest map of an encoder, as a module that calls nothing else."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, volumes: Tensor) -> Tensor:
        return self.encoder.forward_features(volumes)[-1]


def _set_training(modes: Mapping[nn.Module, bool]) -> None:
    for module, mode in modes.items():
        module.training = mode  # train() would also thaw what the encoder has frozen
