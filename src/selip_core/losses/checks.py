"""What may come into the loss; every message says what was needed, what came and what to do."""

import math

import torch
import torch.distributed as dist
from torch import Tensor

from selip_core.losses.precision import LOW_PRECISION
from selip_core.losses.target import Target, TiledTarget

FEATURE_TYPES = (*LOW_PRECISION, torch.float32, torch.float64)


def check_features(image_features: Tensor, text_features: Tensor) -> None:
    """Raise a ValueError unless both are (n, d), of one floating type and on one device."""
    for name, features in (("image_features", image_features), ("text_features", text_features)):
        if not isinstance(features, Tensor):
            raise ValueError(
                f"{name} must be a torch tensor, got {type(features).__name__}; "
                "convert it with torch.as_tensor"
            )
    shapes = f"{tuple(image_features.shape)} and {tuple(text_features.shape)}"
    if image_features.ndim != 2 or image_features.shape != text_features.shape:
        raise ValueError(
            f"image_features and text_features must both be (n, d), row by row a pair, got {shapes}"
        )
    types = {image_features.dtype, text_features.dtype}
    if len(types) > 1 or not types <= set(FEATURE_TYPES):
        raise ValueError(
            "image_features and text_features must have the same floating type, got "
            f"{image_features.dtype} and {text_features.dtype}; convert one with .to(dtype)"
        )
    if image_features.device != text_features.device:
        raise ValueError(
            "image_features and text_features must be on the same device, got "
            f"{image_features.device} and {text_features.device}; move one with .to(device)"
        )


def check_rows(rows: int) -> None:
    """Raise a ValueError for a batch without pairs, whose mean is not defined."""
    if rows == 0:
        raise ValueError("the batch must hold at least one pair, got 0 rows")


def scalar(logit_scale: Tensor | float, like: Tensor) -> Tensor:
    """Return the logit scale as a tensor without dimensions.

    Raises:
        ValueError: If it has more than one element or is not floating.
    """
    if not isinstance(logit_scale, Tensor):
        return torch.tensor(float(logit_scale), dtype=torch.float64, device=like.device)
    if logit_scale.numel() != 1 or not logit_scale.is_floating_point():
        raise ValueError(
            "logit_scale must be one floating number, the multiplier itself, got shape "
            f"{tuple(logit_scale.shape)} of {logit_scale.dtype}"
        )
    return logit_scale.reshape(())


def check_weights(align_weight: float, similarity_weight: float) -> None:
    """Raise a ValueError unless both are finite and at least 0, and one is above 0."""
    weights = (align_weight, similarity_weight)
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) == 0:
        raise ValueError(
            "align_weight and similarity_weight must be finite and at least 0, one of them above "
            f"0, got {align_weight} and {similarity_weight}"
        )


def check_clamp(clamp_eps: float | None, group: "dist.ProcessGroup | None") -> None:
    """Raise a ValueError unless it is None or in (0, 1), and used in one process."""
    if clamp_eps is None:
        return
    if not 0 < clamp_eps < 1:
        raise ValueError(f"clamp_eps must be None or between 0 and 1, got {clamp_eps}")
    if group is not None:
        raise ValueError(
            "clamp_eps works in one process only, got a group as well; leave out one of the two"
        )


def check_all_finite(**tensors: Tensor) -> None:
    """Raise a ValueError that names the first tensor with a NaN or an infinity."""
    for name, tensor in tensors.items():
        finite = tensor.isfinite()
        if not finite.all():
            bad = tensor.numel() - int(finite.sum())
            raise ValueError(
                f"{name} must be finite, got NaN or infinity in {bad} of {tensor.numel()} elements"
                "; look for the step at which they began"
            )


def as_target(target: Target | Tensor, shape: tuple[int, int], features: Tensor) -> Target:
    """Return the target as an operator.

    Raises:
        ValueError: If it is neither a table nor an operator, has another shape or device than the
            batch, or is a table with negative values.
    """
    if not isinstance(target, Tensor | Target):
        raise ValueError(
            "target must be None, a table of similarities or an operator with the members of "
            f"selip_core.losses.Target, got {type(target).__name__}"
        )
    given = tuple(target.shape)
    if given != shape:
        raise ValueError(f"target must have shape {shape}, images by texts, got {given}")
    if target.device != features.device:
        raise ValueError(
            f"target must be on the device of the features, {features.device}, got "
            f"{target.device}; move it with .to(device)"
        )
    if not isinstance(target, Tensor):
        return target
    # Here, not above: whoever brings an operator, or none, needs nothing of the other package.
    from selip_core.similarity.operators import Dense

    return Dense(target)


def check_sums(positive: bool, axis: str) -> None:
    """Raise a ValueError if a row or column of the target cannot be normalised."""
    if not positive:
        raise ValueError(
            f"every {axis} of the target must have a finite sum above 0, got one that has not; "
            "give each report a similarity to itself, or drop those that are similar to none"
        )


def check_tiles(target: Target) -> TiledTarget:
    """Return the target if it can be read in tiles.

    Raises:
        ValueError: If it has no ``tile``.
    """
    if not isinstance(target, TiledTarget):
        raise ValueError(
            "clamp_eps on the chunked back end needs a target with tile(rows, columns), got "
            f"{type(target).__name__}; use backend='dense' or an operator that has it"
        )
    return target
