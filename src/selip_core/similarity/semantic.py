"""Similarity of reports by the meaning of their texts."""

import hashlib
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.field import qualified_name
from selip_core.similarity.operators import LowRank
from selip_core.similarity.packed_strings import PackedStrings
from selip_core.similarity.report_index import ReportIndex
from selip_core.similarity.saving import Json, State
from selip_core.similarity.similarity import Rows, Similarity, watched

if TYPE_CHECKING:
    from selip_core.findings import Report


class SentenceEncoder(Protocol):
    """What sentence-transformers models offer."""

    def encode(self, sentences: list[str]) -> Any:
        """Return an embedding a sentence."""


@final
class SemanticSimilarity(Similarity):
    """How alike two reports are by the embeddings of their texts: ``(1 + cosine) / 2``.

    In ``[0, 1]`` and of low rank: embeddings are never multiplied into a table.

    Args:
        encoder: The name or folder of a sentence-transformers model (loaded in float32 when it is
            first needed; a name that is not in the cache is fetched), such a model, or any callable
            from a list of texts to a matrix with a row a text.

    Example:
        >>> from selip_core import Report
        >>> def count_letters(texts):
        ...     return torch.tensor([[text.count(letter) for letter in "abc"] for text in texts])
        >>> reports = [Report(id="x", text="a"), Report(id="y", text="bc")]
        >>> SemanticSimilarity(count_letters).fit(reports).batch().dense()
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])

    Source:
        arXiv 2503.19801 (the semantic part of its similarity).
    """

    def __init__(
        self,
        encoder: str | os.PathLike[str] | SentenceEncoder | Callable[[list[str]], Any],
    ) -> None:
        self.encoder = encoder
        self._index: ReportIndex | None = None
        self._factor: Float[Tensor, "texts r"] | None = None
        self._texts: dict[str, int] = {}

    def fit(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Embed every distinct text of the corpus once.

        See :meth:`Similarity.fit`.

        Raises:
            ValueError: Also if a report has no text, or the encoder's result is not a finite matrix
                with a row a text and no row of zeros.
        """
        return self._learn(reports, ReportIndex(), {}, progress)

    def extend(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Embed the texts of further reports.

        See :meth:`Similarity.extend`.
        """
        index = ReportIndex(self.index.ids, self.index.says.tolist())
        return self._learn(reports, index, dict(self._texts), progress)

    def _learn(
        self, reports: "Iterable[Report]", index: ReportIndex, texts: dict[str, int], progress: bool
    ) -> Self:
        missing, count = [], 0
        for count, report in enumerate(watched(reports, progress), 1):
            if report.text is None:
                missing.append(count - 1)
                continue
            index.add(report, says=texts.setdefault(report.text, len(texts)))
        if missing:
            raise ValueError(
                f"semantic similarity needs texts; {len(missing)} of {count} reports "
                f"have none, at positions {missing[:10]}"
            )
        index.check()
        embeddings = _unit_rows(_embed(self.encoder, list(texts)), len(texts))
        # (1 + e e') / 2 = [e, 1] [e, 1]' / 2
        ones = torch.ones(len(texts), 1, dtype=embeddings.dtype)
        self._factor = torch.cat([embeddings, ones], dim=1) * 0.5**0.5
        self._index, self._texts = index, texts
        return self

    def definition(self) -> Json:
        """Return the encoder: its name, or the name of its class or function."""
        if isinstance(self.encoder, str | os.PathLike):
            return {"kind": "semantic", "encoder": os.fspath(self.encoder), "restorable": True}
        encoder = qualified_name(self.encoder)
        return {"kind": "semantic", "encoder": encoder, "restorable": False}

    def _state(self) -> State:
        says = self.index.says
        assert self._factor is not None
        texts = PackedStrings.of(self._texts)
        tensors = {"texts": texts.text, "text_offsets": texts.offsets}
        return State({"says": says, "factor": self._factor, **tensors})

    def _restore(self, ids: list[str], state: State) -> None:
        packed = PackedStrings(state.tensors["texts"], state.tensors["text_offsets"])
        factor = state.tensor("factor", torch.float32, (len(packed), None))
        says = state.codes("says", len(ids), 0, len(packed))
        self._index, self._factor = ReportIndex(ids, says.tolist()), factor
        self._texts = {text: place for place, text in enumerate(packed)}

    def _sayings(self) -> list[bytes]:
        digests = [hashlib.sha256(text.encode()).digest() for text in self._texts]
        return [digests[text] for text in self.index.says.tolist()]

    @property
    def index(self) -> ReportIndex:
        """The fitted reports; each says the place of its text."""
        if self._index is None:
            raise ValueError("this similarity is not fitted; call fit(reports) first")
        return self._index

    def batch(
        self,
        rows: Rows = None,
        columns: Rows = None,
        *,
        dtype: torch.dtype = torch.float32,
        show_ids: bool = False,
    ) -> LowRank:
        """Return the similarity of some fitted reports as an operator of low rank.

        See :meth:`Similarity.batch` for the arguments and errors.
        """
        index = self.index
        r = index.positions(rows, "rows", show_ids=show_ids)
        c = r if columns is None else index.positions(columns, "columns", show_ids=show_ids)
        assert self._factor is not None
        left = self._factor[index.says[r]].to(dtype)
        return LowRank(left, left if c is r else self._factor[index.says[c]].to(dtype))


def _embed(encoder: Any, texts: list[str]) -> Any:
    if isinstance(encoder, str | os.PathLike):
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(
            os.fspath(encoder),
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    return encoder.encode(texts) if hasattr(encoder, "encode") else encoder(texts)


def _unit_rows(embeddings: Any, rows: int) -> Float[Tensor, "rows r"]:
    """Return the embeddings with unit norm, or say what is wrong with them."""
    matrix = torch.as_tensor(embeddings).detach().cpu().to(torch.float64)
    if matrix.ndim != 2 or matrix.shape[0] != rows:
        raise ValueError(
            f"the encoder must return a matrix with a row a text, ({rows}, r), "
            f"got shape {tuple(matrix.shape)}"
        )
    norms = matrix.norm(dim=1, keepdim=True)
    wrong = ~((norms > 0) & norms.isfinite())
    if bool(wrong.any()):
        raise ValueError(
            "embeddings must be finite and not zero; the encoder returned "
            f"{int(wrong.sum())} of {rows} that are not"
        )
    unit: Tensor = matrix / norms
    return unit.to(torch.float32)
