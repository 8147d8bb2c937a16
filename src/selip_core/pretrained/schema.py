"""Parts of ``config.json`` read into dataclasses: every key that is wrong told at once."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from selip_core.documents import read_json_document
from selip_core.errors import DataError, Problem, did_you_mean
from selip_core.strict_json import is_deeper

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")

STRICT = {"extra": "forbid"}
"""``__pydantic_config__`` of a dataclass whose unknown keys are told."""


DEPTH = 32
"""Objects and lists in one another that a file may have; ours have a quarter."""


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        DataError: If it holds none.
        OSError: If it cannot be read.
    """
    value = read_json_document(path)
    if is_deeper(value, DEPTH):
        problem = Problem(str(path), f"objects and lists may be nested {DEPTH} deep")
        raise DataError(f"{path} cannot be read", [problem])
    if not isinstance(value, dict):
        problem = Problem(str(path), f"expected a JSON object, got {type(value).__name__}")
        raise DataError(f"{path} cannot be read", [problem])
    return value


def read_as(schema: type[T], values: Any, where: str) -> T:
    """Return the dataclass that the values of one part describe; lists become tuples.

    Args:
        schema: A dataclass, whose ``__pydantic_config__`` is :data:`STRICT`.
        values: What JSON gave.
        where: The file and the path of the part in it, such as ``"config.json $.model"``.

    Raises:
        DataError: If keys are missing, unknown or of the wrong kind.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Point:
        ...     __pydantic_config__ = STRICT
        ...     x: int
        >>> read_as(Point, {"x": 1, "y": 2}, "a.json $")
        Traceback (most recent call last):
        ...
        selip_core.errors.DataError: a.json $ cannot be used (1 problem)
          a.json $.y: unknown key; there are x
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(schema).validate_python(with_tuples(values))
    except ValidationError as error:
        problems = [
            Problem(".".join([where, *map(str, each["loc"])]), _told(each, schema))
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise DataError(f"{where} cannot be used", problems) from error


def _told(error: "ErrorDetails", schema: type[Any]) -> str:
    if error["type"] not in ("unexpected_keyword_argument", "extra_forbidden"):
        return error["msg"]
    *place, wrong = map(str, error["loc"])
    known = [field.name for field in fields(schema)] if is_dataclass(schema) and not place else []
    return f"unknown key; {did_you_mean(wrong, known)}" if known else "unknown key"


def with_tuples(value: Any) -> Any:
    """Return what JSON gave, its lists as tuples.

    JSON has no tuples, and whoever gave options gave most sequences as these.

    Example:
        >>> with_tuples({"grid": [2, 4, 4]})
        {'grid': (2, 4, 4)}
    """
    if isinstance(value, dict):
        return {key: with_tuples(each) for key, each in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list) else value
