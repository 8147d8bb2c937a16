"""Options that encoders share: checked alike, and refused in the same words."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from selip_core.encoders.spec import Size


def require_counts(**counts: int) -> None:
    """Refuse what is no whole number of at least 1.

    Args:
        **counts: The options by their names.

    Raises:
        ValueError: If one is not.

    Example:
        >>> require_counts(in_channels=1, embed_dim=0)
        Traceback (most recent call last):
        ValueError: embed_dim must be a whole number of at least 1, got 0
    """
    for name, count in counts.items():
        if not _is_count(count):
            raise ValueError(f"{name} must be a whole number of at least 1, got {count!r}")


def along_axes(name: str, value: int | Sequence[int]) -> Size:
    """Return an option along (depth, height, width); a single number stands for all three.

    Args:
        name: Of the option.
        value: What was given for it.

    Raises:
        ValueError: If it is neither one nor three whole numbers of at least 1.

    Example:
        >>> along_axes("patch_size", 16), along_axes("patch_size", [4, 16, 16])
        ((16, 16, 16), (4, 16, 16))
    """
    numbers = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    if len(numbers) != 3 or not all(map(_is_count, numbers)):
        raise ValueError(
            f"{name} must be a whole number of at least 1, or three of them along (depth, height, "
            f"width), got {value!r}"
        )
    depth, height, width = numbers
    return depth, height, width


def at_width(channels: int, width: float) -> int:
    """Return as many channels as a width leaves.

    Raises:
        ValueError: If it leaves none, or is not finite.

    Example:
        >>> at_width(64, width=0.25)
        16
    """
    if not _is_finite(width) or int(width * channels) < 1:
        raise ValueError(
            f"width must leave at least one of {channels} channels (1/{channels} or more), "
            f"got {width!r}"
        )
    return int(width * channels)


def require_rates(**rates: float) -> None:
    """Refuse what is no share of values or blocks that can be dropped.

    Args:
        **rates: The options by their names.

    Raises:
        ValueError: If one is not at least 0 and below 1.

    Example:
        >>> require_rates(dropout=0.1, drop_path=1.0)
        Traceback (most recent call last):
        ValueError: drop_path must be at least 0 and below 1, got 1.0
    """
    for name, rate in rates.items():
        if not (_is_finite(rate) and 0 <= rate < 1):
            raise ValueError(f"{name} must be at least 0 and below 1, got {rate!r}")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; ``True`` is none.

    Example:
        >>> is_whole(3), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return is_whole(value) and value >= 1


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
