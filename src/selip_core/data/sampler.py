"""Batches in which reports rarely repeat."""

from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Integers = NDArray[np.int64]


class LimitedBatchSampler(Sampler[list[int]]):
    """Batches with a limited number of equal reports and of normal ones.

    The paper's batches hold unique texts and at most one normal report (arXiv 2503.19801, reference
    implementation); these are the defaults. Equal or normal reports in one batch are false
    negatives of plain CLIP.

    With T batches of B, at most k of a group and m normal ones in a batch, a group can place
    ``min(size, k T)`` samples and normal reports ``m T`` together. T is the largest number of
    batches that can be filled. Samples are shuffled, put in order (normal ones first if m is set,
    each group in one piece if k is set) and dealt like cards, one to each batch in turn: T
    consecutive cards reach T different batches, so no limit is broken. Without limits that is a
    plain shuffle. What no batch has room for is left out, chosen anew in each epoch at random:
    samples beyond ``k T`` of a group and ``m T`` normal ones, and fewer than B of the rest.

    Every epoch has the same number of batches. Order and choice depend on seed and epoch alone.
    Pass it as ``DataLoader(dataset, batch_sampler=sampler)``; accelerate gives each process its
    share of the batches. Call ``set_epoch`` before each epoch.

    Args:
        groups: One label a sample; equal labels are equal reports (ids, or texts).
        normal: Whether the sample's report is normal; equal in a group.
        batch_size: Samples in a batch.
        max_normal: Normal reports in a batch; None for any number.
        max_duplicates: Samples of one group in a batch; None for any number.
        seed: Another seed, other batches.
        drop_last: All batches full. Otherwise one more batch, if it can place samples that were
            left out, and all batches nearly equal in size: a loss over a last batch of two would
            say little. Several processes need full batches.

    Raises:
        ValueError: If the limits leave no batch, or a parameter is out of range.

    Example:
        >>> sampler = LimitedBatchSampler(["a", "a", "b", "c"], [False] * 4, batch_size=2)
        >>> len(sampler), sorted(index for batch in sampler for index in batch)
        (2, [0, 1, 2, 3])
    """

    def __init__(
        self,
        groups: Sequence[Hashable],
        normal: Sequence[bool],
        batch_size: int,
        max_normal: int | None = 1,
        max_duplicates: int | None = 1,
        seed: int = 0,
        drop_last: bool = True,
    ) -> None:
        _require_limits(batch_size, max_normal, max_duplicates)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = 0
        self._groups, self._normal = _encode(groups, normal)
        self._limits_normal = max_normal is not None
        self._limits_groups = max_duplicates is not None
        self._max_normal = len(groups) if max_normal is None else max_normal
        self._max_duplicates = len(groups) if max_duplicates is None else max_duplicates
        sizes = np.bincount(self._groups)
        of_normal = np.bincount(self._groups, weights=self._normal) > 0
        self._normal_sizes, self._other_sizes = sizes[of_normal], sizes[~of_normal]
        self._batches, self._samples = self._count()

    def __len__(self) -> int:
        """The number of batches of every epoch."""
        return self._batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the batches of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._deal()

    def _placeable(self, batches: int) -> int:
        """Return how many samples that many batches of any size have room for."""
        limit = self._max_duplicates * batches
        normal = min(int(np.minimum(self._normal_sizes, limit).sum()), self._max_normal * batches)
        return normal + int(np.minimum(self._other_sizes, limit).sum())

    def _count(self) -> tuple[int, int]:
        """Return the number of batches of an epoch, and of samples in them."""

        def cannot_be_filled(batches: int) -> bool:  # placeable is concave, so false, then true
            return self._placeable(batches) < batches * self.batch_size

        most = len(self._groups) // self.batch_size
        full = bisect_right(range(1, most + 1), False, key=cannot_be_filled)
        if not self.drop_last and self._placeable(full + 1) > full * self.batch_size:
            return full + 1, self._placeable(full + 1)
        if full == 0:
            raise ValueError(
                f"batch_size={self.batch_size} cannot be filled: the limits leave room for "
                f"{self._placeable(1)} of {len(self._groups)} samples in a batch; "
                "lower batch_size, or raise max_normal or max_duplicates"
            )
        return full, full * self.batch_size

    def _deal(self) -> list[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = self._order(random)
        return [
            random.permutation(order[batch :: self._batches]).tolist()
            for batch in random.permutation(self._batches)
        ]

    def _order(self, random: np.random.Generator) -> Integers:
        """Return the samples of the epoch in the order in which they are dealt."""
        order = random.permutation(len(self._groups))
        if self._limits_groups:
            rank = random.permutation(int(self._groups.max()) + 1)[self._groups]
            order = order[np.argsort(rank[order], kind="stable")]
            place = _position_in_run(self._groups[order])
            order = order[place < self._max_duplicates * self._batches]
        if self._limits_normal:
            normal = self._normal[order]
            some = _choose(order[normal], self._max_normal * self._batches, random)
            order = np.concatenate([some, order[~normal]])
        return _choose(order, self._samples, random)


def _require_limits(batch_size: int, max_normal: int | None, max_duplicates: int | None) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if max_normal is not None and max_normal < 0:
        raise ValueError(f"max_normal must be at least 0 or None, got {max_normal}")
    if max_duplicates is not None and max_duplicates < 1:
        raise ValueError(f"max_duplicates must be at least 1 or None, got {max_duplicates}")


def _encode(
    groups: Sequence[Hashable], normal: Sequence[bool]
) -> tuple[Integers, NDArray[np.bool_]]:
    """Return a number for each sample's group, and whether the sample is normal."""
    if len(groups) != len(normal) or not len(groups):
        raise ValueError(
            "groups and normal must have one entry a sample and at least one, "
            f"got {len(groups)} and {len(normal)}"
        )
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    flags = np.asarray(normal, dtype=bool)
    share = np.bincount(codes, weights=flags) / np.bincount(codes)
    if np.any((share > 0) & (share < 1)):
        raise ValueError(
            f"{int(np.sum((share > 0) & (share < 1)))} groups are normal in some samples and not "
            "in others; a group is one report, so declare it once"
        )
    return codes, flags


def _position_in_run(values: Integers) -> Integers:
    """Return each entry's position, from 0, in its run of equal values."""
    positions = np.arange(len(values))
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    return positions - np.repeat(starts, np.diff(starts, append=len(values)))


def _choose(values: Integers, limit: int, random: np.random.Generator) -> Integers:
    """Return at most so many of the values, chosen at random, in their order."""
    return values[np.sort(random.permutation(len(values))[:limit])]
