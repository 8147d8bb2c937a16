"""Similarity of reports by the meaning of their texts."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, final, get_args

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from selip_core.similarity.content_embeddings import embed_contents
from selip_core.similarity.describe import Subject
from selip_core.similarity.embeddings import Encoder, encoder_identity
from selip_core.similarity.explain import decide, explain_words
from selip_core.similarity.explanation import SemanticExplanation
from selip_core.similarity.kernels.field import qualified_name
from selip_core.similarity.long_texts import LongTexts, require_long_texts
from selip_core.similarity.mapped_cosine import MappedCosine, Mapping
from selip_core.similarity.operators import Factored, Index, LowRank, ScaledSum
from selip_core.similarity.operators.base import require_computing
from selip_core.similarity.own_floor import lift_equal
from selip_core.similarity.paths import one_hot
from selip_core.similarity.rendering import Template
from selip_core.similarity.report_index import ReportIndex
from selip_core.similarity.saving import Json, State
from selip_core.similarity.shaping import Shaping
from selip_core.similarity.similarity import Rows, Similarity
from selip_core.similarity.watched import watched
from selip_core.similarity.word_reader import (
    DIGEST_BYTES,
    FIRST_CONTENT,
    NORMAL,
    UNKNOWN,
    WordReader,
)

if TYPE_CHECKING:
    from selip_core.findings import Report

_TEMPERATURE = 0.1


@final
class SemanticSimilarity(Similarity):
    """How alike two reports are by the embeddings of their words, in ``[0, 1]``.

    ``S_ij = shape(map(cos(e_i, e_j)))``; equal ids and equal words have 1. The affine cosine is of
    low rank: embeddings are never multiplied into a table.

    Args:
        encoder: The name or folder of a sentence-transformers model (loaded in float32 from
            safetensors when a text needs it; a name that is not in the cache of the hub is
            fetched), such a model, or any callable from a list of texts to a matrix with a row a
            text.
        of: ``"text"``: the text of a report; or a template that renders a finding, such as
            ``"{laterality} {site}, {signal} signal"``: a missing field is left out with the words
            before it.
        pooling: With a template, a report is its rendered findings in alphabetical order as one
            text (``"joined"``), or the mean of their embeddings, scaled to unit norm again
            (``"mean"``).
        negated: How a template's negated finding is rendered, ``{}`` being its words; ``None``
            leaves it out.
        long_texts: How texts are read that are longer than a sentence-transformers model reads at
            once, often 128 to 512 tokens: in parts whose embeddings are averaged (``"chunk"``), or
            cut with one warning per fit (``"cut"``). Any other encoder gets them whole.
        mapping: ``"affine"``: ``(1 + cos) / 2``; ``"clip"``: ``max(0, cos)``; ``"exp"``:
            ``exp((cos - 1) / temperature)``, of which rows and columns are each a softmax.
        temperature: Of ``"exp"``, positive, without unit; ``None``: 0.1.
        gamma: Power of the mapped cosine; above 1 it sharpens.
        min_similarity: What is smaller, after the power, becomes 0; in ``[0, 1]``.
        top_k: What is neither among the ``top_k`` largest of its row nor of its column becomes 0;
            it counts the distinct contents of a batch. ``None`` keeps all.
        own_floor: The share that the same report has at least of each row's and each column's sum,
            as in :class:`SyntaxSimilarity`. In ``[0, 1)``.
        cache: A folder that keeps embeddings from fit to fit, for this very encoder and these
            versions of libraries; it holds hashes of texts, no text.
        revision: Names the encoder in the cache where that is no model of sentence-transformers;
            change it whenever the encoder changes.

    Raises:
        ValueError: If an argument is not one of these.

    With a template, normal reports have similarity 1 with each other and 0 with all others, and a
    report without a rendered finding that is not declared normal is unknown: similar to itself
    only. Whole texts speak for themselves: every report must have one.

    A fitted similarity keeps embeddings and hashes of texts, no text. Sent to another process (a
    loader's worker) it leaves an encoder that is no name behind: the copy gives batches, and
    cannot be fitted or extended.

    Example:
        >>> from selip_core import Finding, Report
        >>> def count_letters(texts):
        ...     return torch.tensor([[text.count(letter) for letter in "abc"] for text in texts])
        >>> reports = [Report(id="x", text="a"), Report(id="y", text="bc")]
        >>> SemanticSimilarity(count_letters).fit(reports).batch().dense()
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])
        >>> reports = [Report(id="x", findings=[Finding(site="a")]), Report(id="y", normal=True)]
        >>> SemanticSimilarity(count_letters, of="{site}").fit(reports).batch().dense()
        tensor([[1.0000, 0.0000],
                [0.0000, 1.0000]])

    Source:
        Sentence-BERT (arXiv 1908.10084) for the cosine of embeddings. The paper (arXiv 2503.19801)
        compares descriptions by the Dice coefficient of their characters, see
        :meth:`SyntaxSimilarity.paper`.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        of: str = "text",
        pooling: Literal["joined", "mean"] = "joined",
        negated: str | None = "no {}",
        long_texts: LongTexts = "chunk",
        mapping: Mapping = "affine",
        temperature: float | None = None,
        gamma: float = 1.0,
        min_similarity: float = 0.0,
        top_k: int | None = None,
        own_floor: float = 0.0,
        cache: str | os.PathLike[str] | None = None,
        revision: str | None = None,
    ) -> None:
        if pooling not in ("joined", "mean"):
            raise ValueError(f"pooling must be 'joined' or 'mean', got {pooling!r}")
        require_long_texts(long_texts)
        if mapping not in get_args(Mapping):
            raise ValueError(f"mapping must be one of {get_args(Mapping)}, got {mapping!r}")
        if temperature is not None and (mapping != "exp" or not 0 < temperature < math.inf):
            raise ValueError(
                "temperature must be finite and positive, and belongs to mapping='exp', got "
                f"{temperature} with mapping={mapping!r}"
            )
        if not 0 <= own_floor < 1:
            raise ValueError(f"own_floor must be at least 0 and below 1, got {own_floor}")
        self.encoder = encoder
        self.of = of
        self.pooling = pooling
        self.negated = negated
        self.long_texts: LongTexts = long_texts
        self.mapping: Mapping = mapping
        self.temperature = _TEMPERATURE if temperature is None else temperature
        self.shaping = Shaping(gamma, min_similarity, top_k)
        self.own_floor = own_floor
        self.cache = cache
        self.revision = revision
        self._template = None if of == "text" else Template(of, negated)
        self._encoder_name = _name(encoder)
        self._fitted: _Fitted | None = None

    def fit(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Embed every distinct text of the corpus once.

        See :meth:`Similarity.fit`.

        Raises:
            ValueError: Also if a report has no text or no finding has a field of the template, or
                the encoder's result is not a finite matrix with a row a text and no row of zeros.
        """
        no_digests = torch.empty(0, DIGEST_BYTES, dtype=torch.uint8)
        nothing = _Fitted(ReportIndex(), torch.empty(0, 0), no_digests, identity=None)
        return self._learn(reports, nothing, progress)

    def extend(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Embed the new texts of further reports.

        See :meth:`Similarity.extend`.

        Raises:
            ValueError: As :meth:`fit`, and if there are new texts and the encoder is another than
                it was: its files or its revision differ.
        """
        return self._learn(reports, self._require_fitted(), progress)

    def _learn(self, reports: "Iterable[Report]", known: "_Fitted", progress: bool) -> Self:
        index = ReportIndex(known.index.ids, known.index.says.tolist())
        reader = WordReader(self._template, self.pooling, known.digests)
        for report in watched(reports, progress):
            reader.read(report, index)
        reader.check()
        index.check()
        goes_on = known.embeddings.shape[0] > 0
        identity = self._identify() if reader.new or not goes_on else known.identity
        if goes_on and identity != known.identity:  # before anything of the encoder is loaded
            raise ValueError(
                "the encoder is not the one that embedded what was fitted: its files or its "
                "revision differ; fit all reports again"
            )
        new = embed_contents(
            self.encoder,
            reader.new,
            long_texts=self.long_texts,
            cache=self.cache,
            revision=self.revision,
            progress=progress,
        )
        if new.shape[0] and goes_on and new.shape[1] != known.embeddings.shape[1]:
            raise ValueError(
                "the encoder must give embeddings of one length: it gave "
                f"{known.embeddings.shape[1]} to what was fitted, and now {new.shape[1]}"
            )
        embeddings = torch.cat([part for part in (known.embeddings, new) if part.shape[0]] or [new])
        self._fitted = _Fitted(index, embeddings, reader.digests(), identity)
        return self

    @property
    def index(self) -> ReportIndex:
        """The fitted reports."""
        return self._require_fitted().index

    def batch(
        self,
        rows: Rows = None,
        columns: Rows = None,
        *,
        dtype: torch.dtype = torch.float32,
        show_ids: bool = False,
    ) -> LowRank | Factored | ScaledSum:
        """Return the similarity of some fitted reports as an operator.

        Of low rank for the affine cosine as it is, :class:`ExpCosine` for ``"exp"``; whatever is
        cut by ``top_k`` or ``min_similarity`` is sparse; all else is a table of the distinct
        contents of the batch below 8192, and from there on blocks that each product computes again.

        See :meth:`Similarity.batch` for the arguments and errors.
        """
        fitted = self._require_fitted()
        require_computing(dtype)
        r = fitted.index.positions(rows, "rows", show_ids=show_ids)
        c = r if columns is None else fitted.index.positions(columns, "columns", show_ids=show_ids)
        row_contents = fitted.contents[r]
        column_contents = row_contents if c is r else fitted.contents[c]
        source = self._source
        with torch.autocast("cpu", enabled=False):
            if source.is_low_rank and self.own_floor == 0 and fitted.all_have_content:
                return source.operator(row_contents, column_contents, dtype)  # type: ignore[return-value]
            left, distinct = one_hot(row_contents, dtype)
            right, others = (left, distinct) if c is r else one_hot(column_contents, dtype)
            unlifted = Factored(left, source.operator(distinct, others, dtype), right)
            if self.own_floor == 0 and fitted.all_have_content:
                return unlifted
            own = (row_contents >= 0).to(dtype)
            labels = fitted.labels
            return lift_equal(unlifted, labels[r], labels[c], own, self.own_floor)

    @property
    def _source(self) -> MappedCosine:
        embeddings = self._require_fitted().embeddings
        return MappedCosine(embeddings, self.mapping, self.temperature, self.shaping)

    def explain(self, a: str, b: str, *, show_ids: bool = False) -> SemanticExplanation:
        """Return the cosine of two reports and what became of it, or the policy that decides.

        ``top_k`` and ``own_floor`` depend on the batch; they are named and not applied. See
        :meth:`Similarity.explain` for the arguments and errors.

        Example:
            >>> from selip_core import Report
            >>> def count_letters(texts):
            ...     return torch.tensor([[text.count(letter) for letter in "ab"] for text in texts])
            >>> reports = [Report(id="x", text="aaabbbb"), Report(id="y", text="a")]
            >>> print(SemanticSimilarity(count_letters, gamma=2.0).fit(reports).explain("x", "y"))
            similarity 0.64: from the words
            cosine of the embeddings 0.6, (1 + cos) / 2: 0.8
            to the power 2: 0.64
        """
        fitted = self._require_fitted()
        x = int(fitted.index.positions([a], "a", show_ids=show_ids))
        y = int(fitted.index.positions([b], "b", show_ids=show_ids))
        first, second = fitted.index.says[[x, y]].tolist()
        same = bool(fitted.labels[x] == fitted.labels[y])
        reason = decide(
            equal_ids=x == y,
            normal=(first == NORMAL, second == NORMAL),
            unknown=UNKNOWN in (first, second),
            equal_contents=same,
        )
        first, second = fitted.contents[[x, y]].tolist()
        return explain_words(
            self._source, first, second, reason, counts_as_same=same, own_floor=self.own_floor
        )

    def definition(self) -> Json:
        """Return the encoder (its name and what its files are) and all settings but the cache."""
        fitted = self._fitted
        return {
            "kind": "semantic",
            "encoder": self._encoder_name,
            "restorable": isinstance(self.encoder, str | os.PathLike),
            "identity": fitted.identity if fitted else self._identify(),
            "revision": self.revision,
            "of": self.of,
            "pooling": self.pooling,
            "negated": self.negated,
            "long_texts": self.long_texts,
            "mapping": self.mapping,
            "temperature": self.temperature if self.mapping == "exp" else None,
            "gamma": self.shaping.gamma,
            "min_similarity": self.shaping.min_similarity,
            "top_k": self.shaping.top_k,
            "own_floor": self.own_floor,
        }

    def _identify(self) -> str | None:
        return encoder_identity(self.encoder, self.revision)

    def _state(self) -> State:
        fitted = self._require_fitted()
        tensors = {
            "says": fitted.index.says,
            "embeddings": fitted.embeddings,
            "digests": fitted.digests,
        }
        return State(tensors, {"identity": fitted.identity})

    def _restore(self, ids: list[str], state: State) -> None:
        digests = state.tensor("digests", torch.uint8, (None, DIGEST_BYTES))
        embeddings = state.tensor("embeddings", torch.float32, (len(digests), None))
        if not torch.allclose(embeddings.norm(dim=1), torch.ones(len(embeddings)), atol=1e-3):
            raise ValueError("the tensor 'embeddings' must have rows of unit norm")
        says = state.codes("says", len(ids), 0, FIRST_CONTENT + len(digests))
        index = ReportIndex(ids, says.tolist())
        self._fitted = _Fitted(index, embeddings, digests, state.facts.get("identity"))

    def _sayings(self) -> list[bytes]:
        fitted = self._require_fitted()
        digests = fitted.digests.numpy()
        return [
            bytes([said]) if said < FIRST_CONTENT else digests[said - FIRST_CONTENT].tobytes()
            for said in fitted.index.says.tolist()
        ]

    def _subject(self) -> Subject:
        return replace(super()._subject(), same=self._require_fitted().labels)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if self._fitted is not None and not isinstance(self.encoder, str | os.PathLike):
            state["encoder"] = _LeftBehind()
        return state

    def _require_fitted(self) -> "_Fitted":
        if self._fitted is None:
            raise ValueError("this similarity is not fitted; call fit(reports) first")
        return self._fitted


@final
@dataclass(frozen=True, eq=False)
class _Fitted:
    """What was learned.

    Attributes:
        index: The reports; what each says, see :mod:`.word_reader`.
        embeddings: Of each content, of unit norm, in float32.
        digests: SHA-256 of the words of each content.
        identity: What the encoder was.
    """

    index: ReportIndex
    embeddings: Float[Tensor, "contents r"]
    digests: UInt8[Tensor, "contents 32"]
    identity: str | None

    @cached_property
    def contents(self) -> Index:
        """The content of each report; negative where it has none."""
        return (self.index.says - FIRST_CONTENT).clamp(min=-1)

    @cached_property
    def labels(self) -> Index:
        """Equal for reports that count as the same."""
        own_labels = len(self.digests) + torch.arange(len(self.contents))
        labels = torch.where(self.contents >= 0, self.contents, own_labels)
        return torch.where(self.index.says == NORMAL, -1, labels)

    @cached_property
    def all_have_content(self) -> bool:
        """Whether each report has words to embed."""
        return bool((self.contents >= 0).all())


@final
class _LeftBehind:
    """Stands for an encoder that stayed in another process."""

    def __call__(self, texts: list[str]) -> Tensor:
        raise ValueError(
            "this copy of a fitted similarity came from another process without its encoder; fit "
            "or extend where the encoder is, and send the similarity afterwards"
        )


def _name(encoder: Encoder) -> str:
    return os.fspath(encoder) if isinstance(encoder, str | os.PathLike) else qualified_name(encoder)
