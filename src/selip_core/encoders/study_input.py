"""Studies as they are given: what they must be, and all that is wrong with them told at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from selip_core.errors import DataError, Problem

SEQUENCES = ("T1", "T2", "FLAIR", "DWI", "ADC")
"""The kinds of sequence that are told apart unless others are named."""

OTHER = "other"
"""The kind of every sequence whose name is not among those."""

Study = Mapping[str, Tensor] | Sequence[tuple[str, Tensor]]
"""Volumes ``(channel, depth, height, width)`` by sequence; pairs where a sequence comes twice."""


def checked_sequences(sequences: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the kinds that are told apart.

    Raises:
        ValueError: If they are not one or more different names, or if one of them is "other".

    Example:
        >>> checked_sequences(["T1", "FLAIR"])
        ('T1', 'FLAIR')
    """
    # Not a set, which would number its names at random.
    named = _is_listed(sequences) and all(map(_is_name, sequences))
    if not (named and sequences and len(set(sequences)) == len(sequences)):
        raise ValueError(
            'sequences must be a tuple of one or more names, each once, such as ("T1", "FLAIR"), '
            f"got {sequences!r}"
        )
    if OTHER in map(str.lower, sequences):
        raise ValueError(
            f'"{OTHER}" is the kind of every name that is not in sequences: leave it out, '
            f"got {sequences!r}"
        )
    return tuple(sequences)


def checked_studies(
    studies: Sequence[Study], sequences: tuple[str, ...]
) -> list[list[tuple[str, Tensor]]]:
    """Return the names and volumes of each study.

    Raises:
        ValueError: If ``studies`` is not a list with a study.
        DataError: Of everything in it that is no study, no name or no volume.
    """
    if not _is_listed(studies):
        raise ValueError(
            f"studies must be a list of studies, got {type(studies).__name__}: a single study "
            "goes into a list too"
        )
    if not studies:
        raise ValueError("a batch needs at least one study, got none")
    problems = [
        problem for row, study in enumerate(studies) for problem in _wrong(row, study, sequences)
    ]
    if problems:
        raise DataError("these studies make no batch; studies and places count from 0", problems)
    return [_items(study) for study in studies]


def where_in_batch(study: int, place: int, kind: str) -> str:
    """Return how errors name a sequence: by where it stands, and by a kind that is no secret.

    Example:
        >>> where_in_batch(3, 0, "FLAIR")
        'study 3, place 0 (FLAIR)'
    """
    return f"study {study}, place {place} ({kind})"


def _items(study: Study) -> list[tuple[str, Tensor]]:
    return [*(study.items() if isinstance(study, Mapping) else study)]


def _wrong(row: int, study: Any, sequences: tuple[str, ...]) -> Iterator[Problem]:
    if not (isinstance(study, Mapping) or _is_listed(study)):
        needed = "expected volumes by the name of their sequence, or pairs (name, volume)"
        yield Problem(f"study {row}", f"{needed}, got {type(study).__name__}")
        return
    items = _items(study)
    if not items:
        yield Problem(f"study {row}", "expected at least one sequence, got none")
    for place, item in enumerate(items):
        if not _is_pair(item):
            needed = "expected a name and a volume"
            yield Problem(f"study {row}, place {place}", f"{needed}, got {_told(item)}")
        elif not _is_volume(item[1]):
            needed = "expected a floating-point tensor (channel, depth, height, width)"
            # A name that is not told apart may be anything, a patient's too.
            kind = item[0] if item[0] in sequences else OTHER
            yield Problem(where_in_batch(row, place, kind), f"{needed}, got {_told(item[1])}")


def _is_listed(value: Any) -> bool:
    # Strings are sequences too, of strings.
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str)


def _is_volume(volume: Any) -> bool:
    return isinstance(volume, Tensor) and volume.ndim == 4 and volume.is_floating_point()


def _told(value: Any) -> str:
    if value is None:
        return "None: leave out what is missing"
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"({', '.join(type(part).__name__ for part in value)})"
    return type(value).__name__
