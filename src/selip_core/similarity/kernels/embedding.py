"""Closeness of meaning: embeddings of the words of fields."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from selip_core.similarity.embeddings import Encoder, embed, encoder_identity
from selip_core.similarity.kernels.field import FieldKernel, Missing, qualified_name
from selip_core.similarity.kernels.values import Codes, FieldValues
from selip_core.similarity.long_texts import LongTexts, require_long_texts


@final
@dataclass(frozen=True)
class Embedding(FieldKernel):
    """``max(0, cosine)`` of embeddings; there is no table."""

    encoder: Encoder
    long_texts: LongTexts = "chunk"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_long_texts(self.long_texts)
        is_named = isinstance(self.encoder, str | os.PathLike)
        if not (is_named or hasattr(self.encoder, "encode") or callable(self.encoder)):
            raise ValueError(
                "encoder must be the name or folder of a sentence-transformers model, a model with "
                f"encode, or a callable, got {type(self.encoder).__name__}"
            )

    def identify_encoder(self) -> str | None:
        """Return the hash of the model; ``None`` for a callable, which cannot be told apart."""
        return encoder_identity(self.encoder)

    def read(self, values: Sequence[str]) -> FieldValues:
        """Return the values, ready to be compared, with what the encoder is."""
        return replace(super().read(values), encoder=self.identify_encoder())

    def prepare(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Return the embeddings, float32, of unit norm."""
        return {"embeddings": embed(self.encoder, values, long_texts=self.long_texts)}

    def known(self, values: FieldValues, a: Codes, b: Codes, dtype: torch.dtype) -> Tensor:
        """Return the cosines, by one product where every value of one side meets each other."""
        embeddings = values.tensors["embeddings"]
        if a.shape == b.shape:
            cosines = (embeddings[a].to(dtype) * embeddings[b].to(dtype)).sum(-1).clamp_(0, 1)
            return cosines.masked_fill_(a == b, 1)
        rows, row_places = torch.unique(a, return_inverse=True)
        columns, column_places = torch.unique(b, return_inverse=True)
        cosines = embeddings[rows].to(dtype) @ embeddings[columns].to(dtype).T
        cosines = cosines.clamp_(0, 1).masked_fill_(rows[:, None] == columns, 1)
        return cosines[row_places, column_places]

    def _written(self, value: Any) -> str:
        named = isinstance(value, str | tuple)
        return repr(value) if named else f"<{qualified_name(value)}>"


def embedding(
    field: str | tuple[str, ...],
    encoder: Encoder,
    *,
    long_texts: LongTexts = "chunk",
    missing: Missing = "equal",
) -> Embedding:
    """Return the kernel that compares what fields mean, by the embeddings of their words.

    ``max(0, cosine(encoder(a), encoder(b)))``, in ``[0, 1]``; equal words are 1.

    Args:
        field: The field to read; or several as a tuple, ``("site", "signal")``, whose words are
            joined by spaces and embedded together.
        encoder: The name or folder of a sentence-transformers model (loaded in float32 when the
            values are read), such a model, or any callable from a list of texts to a matrix with a
            row a text. Only a name or folder can be saved with the kernel; what the model's files
            are is saved too, and another model is refused.
        long_texts: How values are read that are longer than a sentence-transformers model reads at
            once: in parts whose embeddings are averaged (``"chunk"``), or cut with one warning per
            fit (``"cut"``).
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.Missing`.

    Raises:
        ValueError: If an argument is none of these; and when values are read, if it does not return
            a finite matrix with a row a text and no row of zeros.

    Example:
        >>> def count_letters(texts):
        ...     return torch.tensor([[text.count(letter) for letter in "abc"] for text in texts])
        >>> kernel = embedding(("site", "signal"), count_letters)
        >>> values = kernel.read(["a", "ab", "c"])
        >>> kernel.compare(values, torch.tensor([0, 0]), torch.tensor([1, 2]))
        tensor([0.7071, 0.0000], dtype=torch.float64)
    """
    named = os.fspath(encoder) if isinstance(encoder, os.PathLike) else encoder
    return Embedding(field, named, long_texts, missing=missing)
