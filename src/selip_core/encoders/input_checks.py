"""What volumes must be, besides of a right shape, for an encoder to run on them."""

import torch
from torch import Tensor, nn

_ANY_MODEL_UNDER_AUTOCAST = (torch.float32, torch.float16, torch.bfloat16)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Not the synchronised one, which has the values of the other processes too."""


def require_floats(encoder: nn.Module, volumes: Tensor) -> None:
    """Refuse arrays of other packages, whole numbers, and float64 where the weights are not.

    Half precision passes: autocast takes it, and torch tells where there is none.

    Raises:
        ValueError: If the volumes are one of these.

    Example:
        >>> require_floats(nn.Linear(1, 1), torch.zeros(2, dtype=torch.int16))
        Traceback (most recent call last):
        ValueError: volumes must be torch.float32, as the weights are, got torch.int16: ...
    """
    if not isinstance(volumes, Tensor):
        raise ValueError(
            f"volumes must be a tensor, got {type(volumes)}: convert an array of numpy by "
            "torch.from_numpy(array).float()"
        )
    if volumes.dtype in _ANY_MODEL_UNDER_AUTOCAST:
        return
    expected = next(encoder.parameters()).dtype
    if volumes.dtype != expected:
        raise ValueError(
            f"volumes must be {expected}, as the weights are, got {volumes.dtype}: convert them by "
            f"{'.float()' if expected is torch.float32 else f'.to({expected})'}"
        )


def require_several_values(
    encoder: nn.Module,
    values: int,
    name: str,
    alone: str = "one volume",
    remedy: str = "give more volumes at a time or larger ones",
) -> None:
    """Refuse to train batch normalisation on one value, which has no variance.

    Args:
        encoder: The encoder.
        values: Voxels of the coarsest map of all volumes that are computed together.
        name: Of the encoder.
        alone: What is computed together if there is one value.
        remedy: How to have more.

    Raises:
        ValueError: If there is one, and a batch normalisation is in training mode.
    """
    if values != 1 or not encoder.training:
        return
    if any(isinstance(each, _BATCH_NORMS) and each.training for each in encoder.modules()):
        raise ValueError(
            f"{name} normalises over the batch in training, and {alone} whose coarsest map is "
            f"one voxel has nothing to normalise over: {remedy}, "
            "or keep the statistics as they are by .eval(), or by .freeze(n) of all stages"
        )
