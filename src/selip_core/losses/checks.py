"""What may come into the loss; every message says what was needed, what came and what to do."""

import functools
import math
from typing import SupportsFloat

import torch
import torch.distributed as dist
from torch import Tensor

from selip_core._assertions import require
from selip_core.losses.precision import LOW_PRECISION, accumulation_dtype
from selip_core.losses.target import (
    SelectableTarget,
    Target,
    TiledTarget,
    is_selectable,
    is_tiled,
)

FEATURE_TYPES = (*LOW_PRECISION, torch.float32, torch.float64)


def check_features(image_features: Tensor, text_features: Tensor) -> None:
    """Raise a ValueError unless both are (n, d), of one floating type and on one device."""
    _check_tensors(image_features, text_features)
    if image_features.ndim != 2 or image_features.shape != text_features.shape:
        raise ValueError(
            "image_features and text_features must both be (n, d), row by row a pair, got "
            f"{tuple(image_features.shape)} and {tuple(text_features.shape)}"
        )
    _check_type_and_device(image_features, text_features)


def check_two_sets(image_features: Tensor, text_features: Tensor) -> None:
    """Raise a ValueError unless they are (n, d) and (m, d), of one floating type and device."""
    _check_tensors(image_features, text_features)
    matrices = image_features.ndim == text_features.ndim == 2
    if not matrices or image_features.shape[1] != text_features.shape[1]:
        raise ValueError(
            "image_features and text_features must be (n, d) and (m, d), got "
            f"{tuple(image_features.shape)} and {tuple(text_features.shape)}"
        )
    _check_type_and_device(image_features, text_features)


def _check_tensors(image_features: Tensor, text_features: Tensor) -> None:
    for name, features in (("image_features", image_features), ("text_features", text_features)):
        if not isinstance(features, Tensor):
            raise ValueError(
                f"{name} must be a torch tensor, got {type(features).__name__}; "
                "convert it with torch.as_tensor"
            )
        if features.layout != torch.strided:
            raise ValueError(
                f"{name} must be a dense tensor, got {features.layout}; call .to_dense()"
            )


def _check_type_and_device(image_features: Tensor, text_features: Tensor) -> None:
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


def check_kept(kept: int, rows: int) -> None:
    """Raise a ValueError if the mask leaves no pair."""
    if kept == 0:
        raise ValueError(
            f"mask must be True for at least one pair, got False for all {rows}; skip this batch"
        )


def check_mask(mask: Tensor | None, rows: int) -> None:
    """Raise a ValueError unless it is None or (n,) and bool."""
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise ValueError(f"mask must be a torch tensor of bool, got {type(mask).__name__}")
    if mask.dtype != torch.bool or mask.shape != (rows,):
        raise ValueError(
            f"mask must have shape ({rows},) and type torch.bool, True where image and text are "
            f"both there, got shape {tuple(mask.shape)} of {mask.dtype}"
        )


def scalar(name: str, number: Tensor | float, like: Tensor) -> Tensor:
    """Return the logit scale or the logit bias as a tensor without dimensions.

    Raises:
        ValueError: If it is no number, has more than one element or is not floating.
    """
    meaning = ", the multiplier itself" if name == "logit_scale" else ""
    needed = f"{name} must be one floating number{meaning}"
    if not isinstance(number, Tensor):
        if not isinstance(number, SupportsFloat):
            raise ValueError(f"{needed}, got {type(number).__name__}")
        # Not float64 for all: not every device has it.
        dtype = accumulation_dtype(like.dtype)
        return torch.tensor(float(number), dtype=dtype, device=like.device)
    if number.numel() != 1 or not number.is_floating_point():
        raise ValueError(f"{needed}, got shape {tuple(number.shape)} of {number.dtype}")
    return number.reshape(())


def check_weights(align_weight: float, similarity_weight: float) -> None:
    """Raise a ValueError unless both are finite and at least 0, and one is above 0."""
    weights = (align_weight, similarity_weight)
    if not all(0 <= weight < math.inf for weight in weights) or sum(weights) == 0:
        raise ValueError(
            "align_weight and similarity_weight must be finite and at least 0, one of them above "
            f"0, got {align_weight} and {similarity_weight}"
        )


def check_group(group: "dist.ProcessGroup | None") -> None:
    """Raise a ValueError unless it is None or a group that this process is in."""
    if group is None or (dist.is_available() and isinstance(group, dist.ProcessGroup)):
        return
    raise ValueError(
        "group must be None or a torch.distributed.ProcessGroup that this process is in, got "
        f"{type(group).__name__}; use torch.distributed.group.WORLD for all processes"
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


def check_label_smoothing(label_smoothing: float, clamp_eps: float | None) -> None:
    """Raise a ValueError unless it is in [0, 1), and 0 where the paper's clamps are on."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be at least 0 and below 1, got {label_smoothing}")
    if label_smoothing and clamp_eps is not None:
        raise ValueError(
            "label_smoothing does not go with clamp_eps, whose clamp of the target smooths already;"
            " leave out one of the two"
        )


def check_statistics(return_stats: bool, clamp_eps: float | None) -> None:
    """Raise a ValueError if statistics are asked of the paper's clamped total."""
    if return_stats and clamp_eps is not None:
        raise ValueError(
            "return_stats describes distributions, and what clamp_eps leaves of them does not sum "
            "to 1; leave out one of the two"
        )


def finite_bias(number: Tensor | float, like: Tensor) -> Tensor:
    """Return the logit bias as a tensor without dimensions.

    Raises:
        ValueError: If it is no floating number; as :func:`require` does, if it is not finite: the
            loss does not depend on it, and would be NaN all the same.
    """
    bias = scalar("logit_bias", number, like)
    came = functools.partial(_not_finite, bias)
    require(bias.isfinite(), "logit_bias must be finite", came, "leave it out if there is none")
    return bias


def check_all_finite(**tensors: Tensor) -> None:
    """Raise a ValueError that names the first tensor with a NaN or an infinity.

    On any device: whoever asks for it wants the name more than the time. In a compiled graph torch
    asserts it, with a RuntimeError.
    """
    remedy = "look for the step at which they began"
    for name, tensor in tensors.items():
        needed, holds = f"{name} must be finite", tensor.isfinite().all()
        if torch.compiler.is_compiling():
            torch._assert_async(holds, f"{needed}; {remedy}")
        elif not holds:
            raise ValueError(f"{needed}, got {_not_finite(tensor)}; {remedy}")


def _not_finite(tensor: Tensor) -> str:
    bad = tensor.numel() - int(tensor.isfinite().sum())
    return f"NaN or infinity in {bad} of {tensor.numel()} elements"


def as_target(
    target: Target | Tensor, features: Tensor, columns: int | None, *, masked: bool
) -> Target:
    """Return the target as an operator.

    Args:
        target: A table or an operator.
        features: A row a row of the target.
        columns: Texts; None where other processes hold some and their number is not known yet.
        masked: Whether rows and columns will be taken out.

    Raises:
        ValueError: If it is neither a table nor an operator, has another shape or device than the
            batch, is a table with negative values, or cannot be masked and has to be.
    """
    # torch.compile takes no union with a protocol.
    if not (isinstance(target, Tensor) or isinstance(target, Target)):  # noqa: SIM101
        raise ValueError(
            "target must be None, a table of similarities or an operator with the members of "
            f"selip_core.losses.Target, got {type(target).__name__}"
        )
    given, rows = tuple(target.shape), len(features)
    if len(given) != 2 or given[0] != rows or columns not in (None, given[1]):
        shape = f"({rows}, {'texts of all ranks' if columns is None else columns})"
        raise ValueError(f"target must have shape {shape}, images by texts, got {given}")
    if target.device != features.device:
        raise ValueError(
            f"target must be on the device of the features, {features.device}, got "
            f"{target.device}; move it with .to(device)"
        )
    if not isinstance(target, Tensor):
        return check_selectable(target) if masked else target
    if target.layout != torch.strided:
        raise ValueError(
            f"a table of similarities must be a dense tensor, got {target.layout}; make it an "
            "operator, as with selip_core.similarity.operators.Sparse, or call .to_dense()"
        )
    # Here, not above: whoever brings an operator, or none, needs nothing of the other package.
    from selip_core.similarity.operators import Dense

    return Dense(target)


def check_sums(positive: Tensor, axis: str) -> None:
    """Raise, as :func:`require` does, if a row or column of the target cannot be normalised."""
    require(
        positive,
        f"every {axis} of the target must have a finite sum above 0",
        lambda: "one that has not",
        "give each report a similarity to itself, or drop those that are similar to none",
    )


def check_selectable(target: Target) -> SelectableTarget:
    """Return the target if rows and columns can be taken out.

    Raises:
        ValueError: If it has no ``select``.
    """
    if not is_selectable(target):
        raise ValueError(
            "mask needs a target with select(rows, columns), got "
            f"{type(target).__name__}; leave the missing pairs out before, or use an operator that "
            "has it"
        )
    return target


def check_tiles(target: Target) -> TiledTarget:
    """Return the target if it can be read in tiles.

    Raises:
        ValueError: If it has no ``tile``.
    """
    if not is_tiled(target):
        raise ValueError(
            "clamp_eps on the chunked back end needs a target with tile(rows, columns), got "
            f"{type(target).__name__}; use backend='dense' or an operator that has it"
        )
    return target
