"""What is given to a text encoder: refused by its name if it is of another type or out of range."""

import math
from typing import Any


def require_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is no whole number of at least so much.

    Raises:
        ValueError: If it is none.

    Example:
        >>> require_count("embed_dim", 0)
        Traceback (most recent call last):
        ValueError: embed_dim must be a whole number of at least 1, got 0
    """
    if not is_count(value, least):
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is a whole number of at least so much; ``True`` is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; ``True`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def require_instance(name: str, value: Any, kind: type, example: str) -> None:
    """Refuse what is neither None nor of a class.

    Args:
        name: Of the argument.
        value: What was given for it.
        kind: The class.
        example: How such a one is written.

    Raises:
        ValueError: If it is something else.

    Example:
        >>> require_instance("when", "now", slice, "slice(3)")
        Traceback (most recent call last):
        ValueError: when must be a slice, such as slice(3), or None, got 'now'
    """
    if value is not None and not isinstance(value, kind):
        raise ValueError(
            f"{name} must be a {kind.__name__}, such as {example}, or None, got {value!r}"
        )
