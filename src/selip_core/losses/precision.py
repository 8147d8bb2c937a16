"""Which precision holds what: features and tiles may be low, sums and products never are."""

import torch
from jaxtyping import Float
from torch import Tensor

LOW_PRECISION = (torch.float16, torch.bfloat16)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of sums, of operator products and of the loss: float32, or float64 for it.

    Example:
        >>> accumulation_dtype(torch.bfloat16)
        torch.float32
    """
    return torch.promote_types(dtype, torch.float32)


def working(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return the features in the type that tiles are computed in.

    Low precision is kept where matrix units add its products up in float32 (CUDA, ROCm). Elsewhere
    it would be slower and less exact than float32.
    """
    return features if features.is_cuda else features.to(accumulation_dtype(features.dtype))


def product(left: Float[Tensor, "n k"], right: Float[Tensor, "k m"]) -> Float[Tensor, "n m"]:
    """Return ``left @ right``, added up and returned in the accumulation type."""
    if left.dtype not in LOW_PRECISION:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context in which autocast does not round the operations on this device."""
    return torch.autocast(tensor.device.type, enabled=False)
