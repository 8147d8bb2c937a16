"""Texts longer than a model reads at once: their chunks, put together again."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.text.arguments import require_count


@final
@dataclass(frozen=True)
class Chunking:
    """Reads a text longer than ``max_length`` in overlapping chunks, all in one batch.

    Every token counts once in the text's state: one that stands in two chunks counts half in each,
    as do the special tokens around a chunk. With ``"mean"`` pooling that is the mean over the
    tokens of the text. With ``"cls"`` and ``"last"`` it is the mean of the chunks' states, each
    weighted by the tokens that it adds. A text of one chunk is read as without chunking.

    Attributes:
        overlap: Tokens that a chunk shares with the next, so that each is read with what stands
            before it; less than a chunk holds.
        max_chunks: Chunks that are read of a text, the rest is cut off: it bounds the memory.

    Raises:
        ValueError: If ``overlap`` is no whole number of at least 0 or ``max_chunks`` none of at
            least 1.

    Example:
        >>> Chunking(overlap=2).spans(length=9, size=5)
        [slice(0, 5, None), slice(3, 8, None), slice(6, 9, None)]
    """

    overlap: int = 32
    max_chunks: int = 8

    def __post_init__(self) -> None:
        require_count("overlap", self.overlap, least=0)
        require_count("max_chunks", self.max_chunks)

    def spans(self, length: int, size: int) -> list[slice]:
        """Return where the chunks of ``length`` tokens lie, ``size`` each, the last of fewer."""
        step = size - self.overlap
        count = 1 + max(0, -(-(length - size) // step))
        starts = range(0, step * min(count, self.max_chunks), step)
        return [slice(start, min(start + size, length)) for start in starts]


def span_weights(spans: list[slice]) -> list[Float[Tensor, "t"]]:
    """Return the weight of each token in each span: one over the spans that it stands in.

    Example:
        >>> span_weights([slice(0, 3), slice(2, 4)])
        [tensor([1.0000, 1.0000, 0.5000]), tensor([0.5000, 1.0000])]
    """
    times = torch.zeros(spans[-1].stop)
    for span in spans:
        times[span] += 1
    return [1 / times[span] for span in spans]


def combine_chunks(
    states: Float[Tensor, "n h"],
    weights: Float[Tensor, "b c t"],
    is_chunk: Bool[Tensor, "b c"],
) -> Float[Tensor, "b h"]:
    """Return the mean of each text's chunks, weighted by the tokens that they add.

    Args:
        states: One state a chunk, in the order of ``is_chunk``.
        weights: Of the tokens, 0 for padding.
        is_chunk: Where texts have a chunk; ``n`` of them are true.
    """
    shares = weights.sum(dim=2) / weights.sum(dim=(1, 2)).unsqueeze(1)
    # Put back in place and summed, not added by index: that would be in any order on a GPU.
    placed = states.new_zeros(*is_chunk.shape, states.shape[1], dtype=torch.float32)
    placed[is_chunk] = states.float()
    return (placed * shares.unsqueeze(-1)).sum(dim=1).to(states.dtype)
