"""Identical positives: equal reports or labels, and nothing else."""

from collections.abc import Hashable, Sequence

import torch

from selip_core.similarity.operators import Identity


def identical_positives(
    ids_or_labels: Sequence[Hashable],
    columns: Sequence[Hashable] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Identity:
    """Return the target in which equal ids or labels are positives of each other.

    ``S_ij = 1`` where row and column are equal, else 0. It needs no findings, only a judgement of
    which reports are the same, such as equal ids, equal texts, or equal classes.

    Args:
        ids_or_labels: One a row; a vector of integers is taken as it is.
        columns: One a column; ``None``: those of the rows.
        dtype: float32 or float64.

    Example:
        >>> identical_positives(["normal", "infarct", "normal"]).row_sums()
        tensor([2., 1., 2.])

    Source:
        The label-aware contrast of UniCL (arXiv 2204.03610).
    """
    seen: dict[Hashable, int] = {}

    def encoded(values: Sequence[Hashable]) -> torch.Tensor:
        if isinstance(values, torch.Tensor):
            values = values.tolist()
        return torch.tensor(
            [seen.setdefault(value, len(seen)) for value in values], dtype=torch.int64
        )

    rows = encoded(ids_or_labels)
    ones = torch.ones(rows.shape[0], dtype=dtype)
    return Identity(rows, rows if columns is None else encoded(columns), ones)
