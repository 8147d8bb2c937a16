"""Right answers and graded ones from the lesions that were drawn.

The grade of ``lesion_relevance`` looks at kind, site, side and volume, best match both ways. Half
of its weight lies on site and side, and its form is that of the default syntax target, so it may
favour that target. ``same_kind`` looks at kind alone, which stands in no report: no target sees it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selip_core.evaluation.truth import Lesion

KIND_WEIGHT = 0.4
SITE_WEIGHT = 0.3
LATERALITY_WEIGHT = 0.2
VOLUME_WEIGHT = 0.1


def lesion_relevance(
    rows: Sequence[Sequence[Lesion]], columns: Sequence[Sequence[Lesion]], sequence: str
) -> Float[Tensor, "rows columns"]:
    """How alike two sets of lesions are as ``sequence`` shows them, in [0, 1].

    Two lesions share::

        g = 0.4 [same kind] + 0.3 [same site] + 0.2 [same side] + 0.1 min(v, w) / max(v, w)

    with ``v, w`` their volumes, and two sets the mean of every lesion's best counterpart::

        (sum_{a in A} max_{b in B} g(a, b) + sum_{b in B} max_{a in A} g(a, b)) / (|A| + |B|)

    Lesions not visible in the sequence are left out first. Two sets without a visible lesion are
    alike (1); one with and one without are not (0).

    Example:
        >>> infarct = Lesion("acute infarct", "thalamus", "left", 2.0, frozenset({"DWI"}))
        >>> other_side = Lesion("acute infarct", "thalamus", "right", 1.0, frozenset({"DWI"}))
        >>> lesion_relevance([[infarct]], [[infarct], [other_side], []], "DWI")
        tensor([[1.0000, 0.7500, 0.0000]], dtype=torch.float64)
    """
    left, left_owner = _visible(rows, sequence)
    right, right_owner = _visible(columns, sequence)
    grades = _lesion_grades(left, right)
    best_for_left = _best_per_owner(grades, right_owner, len(columns))
    best_for_right = _best_per_owner(grades.T, left_owner, len(rows))
    total = _sum_per_owner(best_for_left, left_owner, len(rows))
    total = total + _sum_per_owner(best_for_right, right_owner, len(columns)).T
    row_counts = torch.bincount(left_owner, minlength=len(rows))
    column_counts = torch.bincount(right_owner, minlength=len(columns))
    counts = row_counts[:, None] + column_counts[None, :]
    return torch.where(counts == 0, 1.0, total / counts.clamp(min=1))


def same_kind(
    rows: Sequence[Sequence[Lesion]], columns: Sequence[Sequence[Lesion]], sequence: str
) -> Bool[Tensor, "rows columns"]:
    """Whether two sets of lesions have a kind in common among those that ``sequence`` shows.

    Example:
        >>> infarct = Lesion("acute infarct", "thalamus", "left", 2.0, frozenset({"DWI"}))
        >>> elsewhere = Lesion("acute infarct", "pons", None, 9.0, frozenset({"DWI"}))
        >>> same_kind([[infarct]], [[elsewhere], []], "DWI")
        tensor([[ True, False]])
    """
    numbers: dict[str, int] = {}
    for lesion in (lesion for each in (*rows, *columns) for lesion in each):
        numbers.setdefault(lesion.kind, len(numbers))
    ours, theirs = (_kinds_shown(each, sequence, numbers) for each in (rows, columns))
    return ours @ theirs.T > 0


def _kinds_shown(
    lesion_sets: Sequence[Sequence[Lesion]], sequence: str, numbers: dict[str, int]
) -> Float[Tensor, "sets kinds"]:
    """Return 1 where a set shows a kind."""
    shown = torch.zeros(len(lesion_sets), len(numbers))
    lesions, owners = _visible(lesion_sets, sequence)
    shown[owners, [numbers[lesion.kind] for lesion in lesions]] = 1
    return shown


def _visible(
    lesion_sets: Sequence[Sequence[Lesion]], sequence: str
) -> tuple[list[Lesion], Int[Tensor, " lesions"]]:
    lesions = []
    owners = []
    for owner, lesion_set in enumerate(lesion_sets):
        shown = [lesion for lesion in lesion_set if sequence in lesion.visible_in]
        lesions += shown
        owners += [owner] * len(shown)
    return lesions, torch.tensor(owners, dtype=torch.int64)


def _lesion_grades(left: Sequence[Lesion], right: Sequence[Lesion]) -> Float[Tensor, "left right"]:
    grades = torch.zeros(len(left), len(right), dtype=torch.float64)
    for field, weight in (
        ("kind", KIND_WEIGHT),
        ("site", SITE_WEIGHT),
        ("laterality", LATERALITY_WEIGHT),
    ):
        codes: dict[str, int] = {}
        ours, theirs = (
            torch.tensor([codes.setdefault(getattr(one, field), len(codes)) for one in lesions])
            for lesions in (left, right)
        )
        grades += weight * (ours[:, None] == theirs[None, :])
    ours, theirs = (
        torch.tensor([one.volume_ml for one in lesions], dtype=torch.float64)
        for lesions in (left, right)
    )
    larger = torch.maximum(ours[:, None], theirs[None, :]).clamp(min=1e-9)
    return grades + VOLUME_WEIGHT * torch.minimum(ours[:, None], theirs[None, :]) / larger


def _best_per_owner(
    grades: Float[Tensor, "n lesions"], owner: Int[Tensor, " lesions"], owners: int
) -> Float[Tensor, "n owners"]:
    best = torch.zeros(grades.shape[0], owners, dtype=grades.dtype)
    return best.scatter_reduce(1, owner.expand(grades.shape), grades, reduce="amax")


def _sum_per_owner(
    values: Float[Tensor, "lesions n"], owner: Int[Tensor, " lesions"], owners: int
) -> Float[Tensor, "owners n"]:
    totals = torch.zeros(owners, values.shape[1], dtype=values.dtype)
    return totals.index_add(0, owner, values)
