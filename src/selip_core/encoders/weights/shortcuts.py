"""The shortcuts of ResNets: three ways to build one, made one."""

import re

import torch
from torch import Tensor

from selip_core.encoders.weights.layout import Fitted, Tensors

_CONVOLUTION = re.compile(r".*\.layer\d\.0\.downsample\.0\.weight")
_EPSILON = 1e-5  # of torch.nn.BatchNorm3d


def fit_shortcuts(tensors: Tensors, encoder: Tensors) -> Fitted:
    """Make the shortcuts of a file those of our ResNets: convolution without bias, then norm.

    A bias before a norm shifts its running mean: ``norm(conv(x) + bias)`` is the norm whose running
    mean is less by ``bias``. A shortcut without parameters, which takes every second voxel and adds
    channels of 0, is the convolution with an identity matrix and a norm that does nothing in
    evaluation mode; in training mode it scales to the batch, as norms do.

    Args:
        tensors: The file's tensors.
        encoder: The encoder's tensors, under the same names.
    """
    tensors, notes = dict(tensors), {}
    for name in [name for name in tensors if name.endswith("downsample.0.bias")]:
        mean = name.replace("downsample.0.bias", "downsample.1.running_mean")
        if name not in encoder and mean in tensors:
            tensors[mean] = tensors[mean] - tensors.pop(name)
            notes[mean] = "less the bias of the convolution before it"
    if any("downsample" in name for name in tensors):
        return Fitted(tensors, notes=notes)
    filled: Tensors = {}
    for name in filter(_CONVOLUTION.fullmatch, encoder):
        filled |= _identity(name, encoder[name])
        notes[name] = "an identity: the file's shortcuts have no parameters"
    return Fitted(tensors, filled, notes)


def _identity(name: str, weight: Tensor) -> Tensors:
    channels = weight.shape[0]
    norm = name.replace("downsample.0.weight", "downsample.1.")
    ones = torch.ones(channels)
    return {
        name: torch.eye(channels, weight.shape[1]).reshape(weight.shape),
        norm + "weight": ones * (1 + _EPSILON) ** 0.5,
        norm + "bias": torch.zeros(channels),
        norm + "running_mean": torch.zeros(channels),
        norm + "running_var": ones,
    }
