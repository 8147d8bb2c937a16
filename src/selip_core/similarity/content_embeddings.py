"""Embeddings of contents: of one text, or of several pooled."""

import os
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from selip_core.similarity.embeddings import Encoder, embed
from selip_core.similarity.long_texts import LongTexts

_CANCELLED = 1e-6
"""Norm of what rounding leaves of unit vectors that cancel."""


def embed_contents(
    encoder: Encoder,
    contents: Sequence[tuple[str, ...]],
    *,
    long_texts: LongTexts = "chunk",
    cache: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    progress: bool = False,
) -> Float[Tensor, "contents r"]:
    """Return the mean embedding of the texts of each content, scaled to unit norm, in float32.

    Each distinct text is embedded once.

    Args:
        encoder: See :func:`embed`, as for the other arguments.
        contents: One or more texts each, with repeats.
        long_texts: See :func:`embed`.
        cache: See :func:`embed`.
        revision: See :func:`embed`.
        progress: See :func:`embed`.

    Raises:
        ValueError: As :func:`embed`, and if the embeddings of a content cancel.

    Example:
        >>> def count_letters(texts):
        ...     return torch.tensor([[text.count(letter) for letter in "ab"] for text in texts])
        >>> embed_contents(count_letters, [("a",), ("a", "b")])
        tensor([[1.0000, 0.0000],
                [0.7071, 0.7071]])
    """
    distinct = dict.fromkeys(text for content in contents for text in content)
    places = {text: place for place, text in enumerate(distinct)}
    embeddings = embed(
        encoder,
        list(places),
        long_texts=long_texts,
        cache=cache,
        revision=revision,
        progress=progress,
    )
    if len(places) == len(contents) and all(len(content) == 1 for content in contents):
        return embeddings
    found = torch.tensor([places[text] for content in contents for text in content])
    begins = torch.tensor([0, *map(len, contents)]).cumsum(0)[:-1]
    means = embedding_bag(found, embeddings, begins, mode="mean")
    cancelled = int((means.norm(dim=1) < _CANCELLED).sum())
    if cancelled:
        raise ValueError(
            f"the embeddings of the findings of {cancelled} of {len(contents)} contents of reports "
            "cancel; use pooling='joined'"
        )
    return normalize(means)
