"""A batch of tensors and lists, in pieces of so many rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

Rows = Tensor | list[Any] | tuple[Any, ...] | Mapping[str, Any]


def row_chunks(batch: Rows, size: int) -> list[Rows]:
    """Return the batch in pieces, the last of which may be smaller.

    Args:
        batch: Tensors and lists of equally many rows, in tuples and mappings of any depth; a list
            outside of these is taken for a tuple.
        size: Rows of a piece, at least 1.

    Returns:
        Pieces of the batch's structure; of a batch without rows one without rows.

    Raises:
        ValueError: If ``size`` is less than 1, or a part has no rows or not as many as the others.

    Example:
        >>> row_chunks((["a", "b", "c"], {"age": [4, 5, 6]}), 2)
        [(['a', 'b'], {'age': [4, 5]}), (['c'], {'age': [6]})]
    """
    if size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {size}")
    if isinstance(batch, list):
        batch = tuple(batch)
    lengths = {name: _length(name, part) for name, part in named_parts(batch)}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"all parts of the batch must have equally many rows, got {lengths}")
    rows = max(lengths.values())
    return [_sliced(batch, slice(start, start + size)) for start in range(0, max(rows, 1), size)]


def named_parts(rows: Any, name: str = "batch") -> Iterator[tuple[str, Any]]:
    """Go through what is in tuples and mappings, with where it is.

    Example:
        >>> list(named_parts(([1], {"age": [4]})))
        [('batch[0]', [1]), ("batch[1]['age']", [4])]
    """
    if isinstance(rows, Mapping | tuple):
        items = rows.items() if isinstance(rows, Mapping) else enumerate(rows)
        for key, part in items:
            yield from named_parts(part, f"{name}[{key!r}]")
    else:
        yield name, rows


def _length(name: str, part: Any) -> int:
    if isinstance(part, list) or (isinstance(part, Tensor) and part.dim()):
        return len(part)
    raise ValueError(
        f"{name} must be a tensor or a list with a row for each pair, got {type(part).__name__}; "
        "keep what has no rows in the model"
    )


def _sliced(rows: Any, piece: slice) -> Any:
    if isinstance(rows, Mapping):
        return {name: _sliced(part, piece) for name, part in rows.items()}
    if isinstance(rows, tuple):
        return tuple(_sliced(part, piece) for part in rows)
    return rows[piece]
