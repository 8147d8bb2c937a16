"""A similarity of reports: fitted to a corpus once, asked for an operator every step.

Similarities add up to a mix, and a mix is a similarity: the two stand in one file, since each makes
the other.
"""

import abc
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Self, TypeAlias, final

import torch

from selip_core.similarity.describe import BATCH_SIZES, Subject, describe, mixed_subject
from selip_core.similarity.description import Description
from selip_core.similarity.explanation import Explanation, MixedExplanation
from selip_core.similarity.gathering import gather_vectors
from selip_core.similarity.operators import Index, ScaledSum, SimilarityOperator
from selip_core.similarity.report_index import ReportIndex
from selip_core.similarity.same_definition import completed, require_same_definition
from selip_core.similarity.saving import (
    Json,
    Saved,
    State,
    hash_corpus,
    read_saved,
    require_free,
    write_saved,
)

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from selip_core.findings import Report

Rows: TypeAlias = Sequence[str] | Index | None
"""Ids of fitted reports, or their positions (int64) among the fitted; ``None``: all."""

_ROUNDING = 1e-9


class Similarity(abc.ABC):
    """What makes two reports alike.

    Similarities mix by ``0.5 * syntax + 0.5 * semantic``. To add one, derive from it; what
    :meth:`save` and :meth:`load` need is :meth:`definition`, ``_state``, ``_restore`` and
    ``_sayings``.

    Example:
        >>> from selip_core import Finding, Report, SyntaxSimilarity
        >>> sites = {"a": "pons", "b": "insula", "c": "pons"}
        >>> reports = [Report(id=i, findings=[Finding(site=site)]) for i, site in sites.items()]
        >>> similarity = SyntaxSimilarity().fit(reports)
        >>> similarity.index.ids
        ['a', 'b', 'c']
        >>> similarity.batch(["a", "b"], ["c"]).dense()
        tensor([[1.0000],
                [0.0168]])
    """

    @abc.abstractmethod
    def fit(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Learn the corpus; only fitted reports can be asked for. Return ``self``.

        Args:
            reports: Read once, one by one; none is kept.
            progress: Show a bar on standard error.

        Raises:
            ValueError: If there is no report, two different reports share an id, or the reports
                lack what this similarity reads.
        """

    @abc.abstractmethod
    def extend(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Learn further reports besides the fitted ones, which keep their positions.

        A report that is fitted already may come again, if it says the same.

        Args:
            reports: Read once, one by one; none is kept.
            progress: Show a bar on standard error.

        Raises:
            ValueError: As :meth:`fit`, and if nothing was fitted. What was fitted stays as it was.
        """

    @property
    @abc.abstractmethod
    def index(self) -> ReportIndex:
        """The fitted reports and their positions."""

    @abc.abstractmethod
    def batch(
        self,
        rows: Rows = None,
        columns: Rows = None,
        *,
        dtype: torch.dtype = torch.float32,
        show_ids: bool = False,
    ) -> SimilarityOperator:
        """Return the similarity of some fitted reports as an operator.

        Args:
            rows: Ids of the rows, or their positions among the fitted reports (int64, as
                :meth:`gather_positions` gives them); ``None``: all fitted reports, in their order.
            columns: Likewise; ``None``: those of the rows.
            dtype: float32 or float64.
            show_ids: Name unknown ids in the error; ids can be accession numbers.

        Raises:
            ValueError: If an id was not fitted, or nothing was, or the dtype is another.
        """

    @abc.abstractmethod
    def definition(self) -> Json:
        """Return its settings as JSON can hold them; equal for similarities that fit alike.

        ``"kind"`` names the class. A part that has no settings to rebuild it from, such as a
        function of the user's, is told by its name.
        """

    @abc.abstractmethod
    def _state(self) -> State:
        """Return what was learned, without the ids; ``index.says`` is part of it."""

    @abc.abstractmethod
    def _restore(self, ids: list[str], state: State) -> None:
        """Take up what :meth:`_state` gave, without making it again; tensors are not copied.

        Raises:
            ValueError: If the parts do not fit each other; then nothing has changed.
        """

    @abc.abstractmethod
    def _sayings(self) -> list[bytes]:
        """Return, for each fitted report, a digest of what it says to this similarity.

        It does not depend on the other reports, nor on their order.
        """

    def gather_positions(
        self,
        ids: Sequence[str] | Index,
        group: "ProcessGroup | None" = None,
        *,
        show_ids: bool = False,
    ) -> Index:
        """Return the positions of the ids of all ranks, in rank order: the columns of a target.

        Each rank then asks for its rows of the global batch:
        ``similarity.batch(ids, similarity.gather_positions(ids, group))`` is the target of
        :class:`~selip_core.losses.SimilarityCLIPLoss` with the same ``group``. Positions travel,
        never ids; ranks may hold different numbers of reports, or none.

        Args:
            ids: Of this rank's reports, or their positions.
            group: The processes, all of which must call this; ``None`` never communicates, also
                where processes run: what comes back are this process's own positions.
            show_ids: Name unknown ids in the error; ids can be accession numbers.

        Returns:
            int64, on the CPU, alike on all ranks.

        Raises:
            ValueError: If an id was not fitted, here or on another rank, or the ranks have not
                fitted the same reports in the same order.
        """
        try:
            own = self.index.positions(ids, "ids", show_ids=show_ids)
            fingerprint = 0 if group is None else self.index.fingerprint
        except ValueError:
            if group is not None:
                # The other ranks must not wait for this one.
                with suppress(ValueError):
                    gather_vectors(None, 0, group)
            raise
        return gather_vectors(own, fingerprint, group)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write what was learned into a folder, whole or not at all; no pickle.

        ``card.json`` tells the definition, the versions of libraries, the date, and a hash of the
        corpus that does not depend on the order of its reports. The folder holds ids and the words
        of findings: keep it as you keep the reports.

        Args:
            folder: A new or empty folder.
            overwrite: Replace a folder that holds a saved similarity.

        Raises:
            ValueError: If nothing was fitted.
            FileExistsError: If the folder holds something else, or a saved similarity and
                ``overwrite`` is False.
        """
        index = self.index
        require_free(folder, overwrite)
        saved = Saved(self.definition(), index.ids, self._state())
        corpus_hash = hash_corpus(saved.ids, self._sayings())
        write_saved(folder, saved, corpus_hash, overwrite=overwrite)

    def load(self, folder: str | os.PathLike[str]) -> Self:
        """Take up what :meth:`save` wrote, in place of :meth:`fit`. Return ``self``.

        Tensors are mapped from the file: processes that load one folder share its memory. To load
        without knowing what was saved, use :func:`~selip_core.similarity.load_similarity`.

        Raises:
            ValueError: If the folder holds a similarity of another definition (the message shows
                where they differ), or is damaged. What was fitted stays as it was.
            FileNotFoundError: If there is no such folder.
        """
        saved = read_saved(folder)
        require_same_definition(self.definition(), completed(saved.definition), folder)
        saved.restore(self._restore, folder)
        return self

    @abc.abstractmethod
    def explain(self, a: str, b: str, *, show_ids: bool = False) -> Explanation:
        """Return why two fitted reports are as alike as they are.

        Args:
            a: The id of a report.
            b: The id of another, or the same.
            show_ids: Name an unknown id in the error; ids can be accession numbers.

        Raises:
            ValueError: If an id was not fitted, or nothing was.
        """

    def describe(
        self,
        batch_sizes: Sequence[int] = BATCH_SIZES,
        *,
        seed: int = 0,
        samples: int = 2048,
        threshold: float = 0.5,
        pairs: int = 3,
        show_ids: bool = False,
    ) -> Description:
        """Return what this similarity makes of batches drawn at random from the fitted reports.

        Tells whether it will do as a target: how much mass the own report keeps, how many reports
        count as positives, what plain CLIP would push apart, and what the operators will take.

        Args:
            batch_sizes: Reports in a batch; larger ones than the corpus are cut to it.
            seed: Of the draw.
            samples: About so many rows are measured at each batch size, in 1 to 64 whole batches.
                The time goes with the square of the largest batch, not with the corpus.
            threshold: Similarity in ``[0, 1]`` from which on another report counts as a positive.
            pairs: How many of the most and least alike pairs are shown.
            show_ids: Name the reports of these pairs by id; ids can be accession numbers.

        Raises:
            ValueError: If an argument is out of range, or nothing was fitted.

        Example:
            >>> from selip_core import Finding, Report, SyntaxSimilarity
            >>> sites = ["pons", "insula", "thalamus", "pons"]
            >>> reports = [
            ...     Report(id=str(i), findings=[Finding(site=site)]) for i, site in enumerate(sites)
            ... ]
            >>> description = SyntaxSimilarity().fit(reports).describe((4,))
            >>> batch = description.batches[0]
            >>> round(batch.own_mass, 2), round(batch.same_mass, 2), batch.false_negatives
            (0.72, 0.97, 0.5)
            >>> description.warnings
            ()
        """
        return describe(
            self._subject(),
            batch_sizes,
            seed=seed,
            samples=samples,
            threshold=threshold,
            pairs=pairs,
            show_ids=show_ids,
        )

    def _subject(self) -> Subject:
        """Return what :meth:`describe` looks at; reports say the same where ``index`` has it so."""
        return Subject(type(self).__name__, self.index, self.index.says, self.batch)

    def __add__(self, other: object) -> "MixedSimilarity":
        if not isinstance(other, Similarity):
            return NotImplemented
        left, right = _mixed(self), _mixed(other)
        return MixedSimilarity(left.scales + right.scales, left.parts + right.parts)

    def __radd__(self, other: object) -> "Similarity":
        # Where Python's sum() begins.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __mul__(self, scale: float) -> "MixedSimilarity":
        if not isinstance(scale, Real):  # products are of kernels, finding by finding
            return NotImplemented
        mixed = _mixed(self)
        return MixedSimilarity(tuple(scale * own for own in mixed.scales), mixed.parts)

    def __rmul__(self, scale: float) -> "MixedSimilarity":
        return self * scale


@final
@dataclass(frozen=True, eq=False)
class MixedSimilarity(Similarity):
    """A scaled sum of similarities, itself in ``[0, 1]``.

    Raises:
        ValueError: If a scale is negative, or they sum to more than 1.

    Example:
        >>> from selip_core import Finding, Report
        >>> from selip_core.similarity import SyntaxSimilarity, exact
        >>> site, signal = SyntaxSimilarity(exact("site")), SyntaxSimilarity(exact("signal"))
        >>> reports = [
        ...     Report(id="a", findings=[Finding(site="pons", signal="high")]),
        ...     Report(id="b", findings=[Finding(site="pons", signal="low")]),
        ... ]
        >>> (0.25 * site + 0.75 * signal).fit(reports).batch().dense()
        tensor([[1.0000, 0.2500],
                [0.2500, 1.0000]])
    """

    scales: tuple[float, ...]
    parts: tuple[Similarity, ...]

    def __post_init__(self) -> None:
        if not all(scale >= 0 for scale in self.scales) or not sum(self.scales) <= 1 + _ROUNDING:
            raise ValueError(
                "the scales of mixed similarities must be at least 0 and sum to at most 1, got "
                f"{self.scales}"
            )

    def fit(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Fit every part to the corpus, or none.

        Each part reads the reports, so all are held in memory until the last has: a generator saves
        nothing here. Then none is kept.
        """
        reports = list(reports)
        with _all_or_none(self.parts):
            for part in self.parts:
                part.fit(reports, progress=progress)
        return self

    def extend(self, reports: "Iterable[Report]", *, progress: bool = False) -> Self:
        """Extend every part, or none; meanwhile the new reports are held, as by :meth:`fit`."""
        reports = list(reports)
        with _all_or_none(self.parts):
            for part in self.parts:
                part.extend(reports, progress=progress)
        return self

    @property
    def index(self) -> ReportIndex:
        """The fitted reports, alike in all parts."""
        indexes = [part.index for part in self.parts]
        if len({index.fingerprint for index in indexes}) > 1:
            raise ValueError(
                "the parts of a mix must be fitted to the same reports in the same order, and they "
                "were not; fit the mix"
            )
        return indexes[0]

    def batch(
        self,
        rows: Rows = None,
        columns: Rows = None,
        *,
        dtype: torch.dtype = torch.float32,
        show_ids: bool = False,
    ) -> ScaledSum:
        """Return the scaled sum of the operators of the parts."""
        index = self.index
        r = index.positions(rows, "rows", show_ids=show_ids)
        c = columns if columns is None else index.positions(columns, "columns", show_ids=show_ids)
        return ScaledSum(self.scales, tuple(part.batch(r, c, dtype=dtype) for part in self.parts))

    def definition(self) -> Json:
        """Return the scales, and the definitions of the parts."""
        parts = [part.definition() for part in self.parts]
        return {"kind": "mixed", "scales": [float(scale) for scale in self.scales], "parts": parts}

    def _state(self) -> State:
        states = [part._state() for part in self.parts]
        return State(
            {
                f"{number}.{name}": tensor
                for number, state in enumerate(states)
                for name, tensor in state.tensors.items()
            },
            {str(number): state.facts for number, state in enumerate(states)},
        )

    def _restore(self, ids: list[str], state: State) -> None:
        with _all_or_none(self.parts):
            for number, part in enumerate(self.parts):
                part._restore(ids, state.part(str(number)))

    def _sayings(self) -> list[bytes]:
        sayings = zip(*(part._sayings() for part in self.parts), strict=True)
        return [hashlib.sha256(b"".join(said)).digest() for said in sayings]

    def explain(self, a: str, b: str, *, show_ids: bool = False) -> MixedExplanation:
        """Return the explanations of the parts, with their scales.

        See :meth:`Similarity.explain`.
        """
        parts = tuple(part.explain(a, b, show_ids=show_ids) for part in self.parts)
        value = sum(scale * part.value for scale, part in zip(self.scales, parts, strict=True))
        return MixedExplanation(value, self.scales, parts)

    def _subject(self) -> Subject:
        subjects = [part._subject() for part in self.parts]
        return mixed_subject(self.scales, subjects, self.batch)


@contextmanager
def _all_or_none(similarities: Sequence[Similarity]) -> Iterator[None]:
    """Put back what all had learned if the block fails."""
    before = [(single, dict(vars(single))) for single in _singles(similarities)]
    try:
        yield
    except BaseException:
        for single, learned in before:
            vars(single).clear()
            vars(single).update(learned)
        raise


def _singles(similarities: Sequence[Similarity]) -> Iterator[Similarity]:
    for similarity in similarities:
        if isinstance(similarity, MixedSimilarity):
            yield from _singles(similarity.parts)
        else:
            yield similarity


def _mixed(similarity: Similarity) -> MixedSimilarity:
    if isinstance(similarity, MixedSimilarity):
        return similarity
    return MixedSimilarity((1.0,), (similarity,))
