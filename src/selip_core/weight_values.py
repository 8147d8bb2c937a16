"""Detect values that no trained network has, with the likely cause and the remedy."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""Types that weights may have in a file. Eight bits are a quantised export, scales apart."""

NOT_FINITE = "NaN or infinite"
NEGATIVE = "negative variances"
ZERO = "all zero, which they are not in a new encoder"
CONSTANT = "all zero, so that the features are the same for every input"
RANGE = "too large or too small for the type of the encoder"
INTEGER = "not floating point"
WHOLE = "whole numbers throughout, as quantised values without their scale are"
COUNTS = "counts that are no whole numbers"

_DIVERGED = (
    "the run that wrote the file diverged, or the file is damaged: take an earlier checkpoint, or "
    "fetch the file again"
)
_QUANTISED = (
    "the file is a quantised export: dequantise it first (values times their scales, saved as "
    "float32), or take the file in floating point"
)
_NOT_WRITTEN = (
    "the file was written by a process that did not hold these weights (a rank of sharded "
    "training), or its end was never written: write or fetch it again. What is meant to be zero, "
    "leave out of the file"
)
REMEDIES: Mapping[str, str] = {
    NOT_FINITE: _DIVERGED,
    NEGATIVE: _DIVERGED,
    ZERO: _NOT_WRITTEN,
    CONSTANT: _NOT_WRITTEN,
    RANGE: "the encoder computes in a narrower type than the file's: load into it in float32",
    INTEGER: _QUANTISED,
    WHOLE: _QUANTISED,
    COUNTS: _DIVERGED,
}
"""Likely cause and remedy for each kind of wrong value."""

_SHOWN = 5
_COUNT = "num_batches_tracked"
_ENOUGH = 16
"""Values from which on it cannot be chance that all of a layer are whole numbers."""


def wrong_value(name: str, own: Tensor, value: Tensor, is_parameter: bool = True) -> str | None:
    """Return what is wrong with a value for the tensor ``own``; ``None`` if nothing is.

    Example:
        >>> own = torch.ones(2, 3)
        >>> wrong_value("a.weight", own, torch.zeros(2, 3))
        'all zero, which they are not in a new encoder'
        >>> wrong_value("a.weight", own, own.double()) is None
        True
    """
    if not bool(value.isfinite().all()):
        return NOT_FINITE
    if not own.is_floating_point():
        is_count = name.endswith(_COUNT)
        return COUNTS if is_count and bool(((value < 0) | (value != value.round())).any()) else None
    is_variance = name.endswith("running_var")
    if is_variance and bool((value < 0).any()):
        return NEGATIVE
    cast = value.to(own.dtype)
    is_matrix = is_parameter and value.ndim > 1 and name.endswith("weight")
    if not bool(cast.isfinite().all()) or (bool(value.any()) and not bool(cast.any())):
        return RANGE
    if (is_matrix or is_variance) and not bool(value.any()) and is_nonzero(own):
        return ZERO
    return WHOLE if is_matrix and _is_whole(value) and not _is_whole(own) else None


def described(problems: Mapping[str, Sequence[str]]) -> str:
    """Return what is wrong with values, the tensors that have them, and the likely causes.

    Example:
        >>> print(described({NEGATIVE: ["bn1.running_var"]}))
        holds values that no trained network has, so nothing was loaded
          negative variances: bn1.running_var
          likely cause: the run that wrote the file diverged, or ...
    """
    causes = dict.fromkeys(REMEDIES[kind] for kind in problems)
    return "".join(
        [
            "holds values that no trained network has, so nothing was loaded",
            *(f"\n  {kind}: {_listed(names)}" for kind, names in problems.items()),
            *(f"\n  likely cause: {cause}" for cause in causes),
        ]
    )


def is_nonzero(tensor: Tensor) -> bool:
    """Return whether a tensor has a value other than zero; False on the device "meta"."""
    return tensor.device.type != "meta" and bool(tensor.any())


def _is_whole(value: Tensor) -> bool:
    if value.device.type == "meta" or value.numel() < _ENOUGH or bool((value.abs() <= 1).all()):
        return False
    return bool((value == value.round()).all())


def _listed(names: Sequence[str]) -> str:
    more = f" ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
