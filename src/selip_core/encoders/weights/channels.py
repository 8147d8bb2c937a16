"""The first layer, for another number of input channels than a file was trained with."""

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

Channels = Literal["sum", "mean", "repeat"]


def require_mode(mode: str) -> None:
    """Refuse a mode that is none.

    Raises:
        ValueError: If so.
    """
    if mode not in get_args(Channels):
        raise ValueError(f"channels must be one of {list(get_args(Channels))}, got {mode!r}")


def adapt_channels(
    weight: Float[Tensor, "out c *kernel"], channels: int, mode: Channels
) -> Float[Tensor, "out channels *kernel"]:
    """Return the weights of a first layer for another number of input channels.

    From ``c`` to ``channels``, weight ``w``:

    - ``"sum"``: each gets ``sum(w) / channels``. Where all channels are equal, activations are what
      they were.
    - ``"mean"``: each gets ``mean(w)``. Activations of equal channels are ``channels / c`` times
      what they were: right where each channel brings something of its own.
    - ``"repeat"``: channel ``i`` gets that of channel ``i mod c``, divided by how often that is
      used. Where channels repeat in this way, activations are what they were.

    Args:
        weight: That of a convolution or of a linear layer.
        channels: The number wanted.
        mode: How.

    Raises:
        ValueError: If ``"repeat"`` would leave channels out.

    Example:
        >>> import torch
        >>> adapt_channels(torch.tensor([[1.0, 3.0]]), 1, "sum")
        tensor([[4.]])
        >>> adapt_channels(torch.tensor([[1.0, 3.0]]), 3, "repeat")
        tensor([[0.5000, 3.0000, 0.5000]])
    """
    have = weight.shape[1]
    if mode == "repeat":
        return _repeat(weight, channels)
    total = weight.sum(1, keepdim=True) / (channels if mode == "sum" else have)
    return total.expand(-1, channels, *weight.shape[2:])


def _repeat(weight: Tensor, channels: int) -> Tensor:
    have = weight.shape[1]
    if channels < have:
        raise ValueError(
            f"the file has {have} input channels and the encoder {channels}: channels='repeat' "
            "would leave some out; take 'sum' or 'mean'"
        )
    source = [i % have for i in range(channels)]
    uses = weight.new_tensor([source.count(i) for i in source])
    return weight[:, source] / uses.reshape(-1, *[1] * (weight.ndim - 2))
