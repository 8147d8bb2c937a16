"""Groups of parameters for an optimiser: rates by stage, and no decay where it does harm."""

import math
from typing import Any

from torch import nn

from selip_core.encoders.interface import ImageEncoder


def parameter_groups(
    module: nn.Module, learning_rate: float, weight_decay: float = 0.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups that ``torch.optim`` takes.

    The stages of an image encoder learn the slower the nearer they are to the input: each at
    ``layer_decay`` times the rate of the next. Its pooling learns at the full rate, and so does
    what belongs to no image encoder, such as the text encoder of a dual encoder.

    Weight decay is for the weights of linear layers and convolutions. Biases, normalisations,
    scales, tokens, and embeddings of positions, kinds and words have none.

    Args:
        module: An image encoder, or a model that holds some.
        learning_rate: The full rate, above 0.
        weight_decay: Decay of the parameters that have one, 0 or above.
        layer_decay: In ``(0, 1]``; 1 is the same rate everywhere. Between 0.65 and 0.9 is usual
            where a pretrained transformer is fine-tuned, whose stages are single blocks.

    Returns:
        Groups with the keys params, lr, weight_decay and names.

    Raises:
        ValueError: If a number is out of its range, or if no parameter is trainable.

    Example:
        >>> import torch
        >>> from selip_core import create_image_encoder
        >>> encoder = create_image_encoder("resnet10", width=0.25).freeze(1)
        >>> groups = parameter_groups(encoder, 1e-3, weight_decay=0.05, layer_decay=0.5)
        >>> optimizer = torch.optim.AdamW(groups)
        >>> [(group["lr"], group["weight_decay"]) for group in groups]  # doctest: +ELLIPSIS
        [(6.25e-05, 0.05), (6.25e-05, 0.0), (0.000125, 0.05), ..., (0.001, 0.05), (0.001, 0.0)]
    """
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be above 0 and finite, got {learning_rate}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be at least 0 and finite, got {weight_decay}")
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be above 0 and at most 1, got {layer_decay}")
    shares = _shares_of_the_rate(module, layer_decay)
    embeddings = {id(each.weight) for each in module.modules() if isinstance(each, nn.Embedding)}
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        share = shares.get(id(parameter), 1.0)
        decays = _is_kernel(name, parameter) and id(parameter) not in embeddings
        group = groups.setdefault(
            (share, decays),
            {
                "params": [],
                "names": [],
                "lr": share * learning_rate,
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise ValueError("no parameter is trainable: all are frozen, or there is none")
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], not key[1]))]


def _shares_of_the_rate(module: nn.Module, layer_decay: float) -> dict[int, float]:
    """Share of the full rate, by the identity of the parameter."""
    shares: dict[int, float] = {}
    for encoder in module.modules():
        if isinstance(encoder, ImageEncoder):
            for depth, stage in enumerate(reversed(encoder.stages()), start=1):
                for parameter in nn.ModuleList(stage).parameters():
                    shares.setdefault(id(parameter), layer_decay**depth)
    return shares


def _is_kernel(name: str, parameter: nn.Parameter) -> bool:
    owner, _, own_name = name.rpartition(".")
    return own_name.endswith("weight") and parameter.ndim > 1 and "position" not in owner
