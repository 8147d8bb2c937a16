"""Values of fields that a schema does not name: what JSON can hold."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from selip_core.strict_json import DEPTH

LARGEST_BITS = 14_280
"""Of an integer; Python writes and reads no more than 4,300 decimal digits."""


def _require_json(value: Any) -> Any:
    """Return the value if JSON can hold it.

    Raises:
        PydanticCustomError: If it is or holds NaN, an infinity, or a type that JSON lacks.
    """
    if not isinstance(value, str):
        _require(value, DEPTH)
    return value


JsonField = Annotated[Any, AfterValidator(_require_json)]
"""Any JSON value; NaN, ``numpy.nan``, ``pandas.NA`` and ``pandas.NaT`` are refused."""


def _require(value: Any, depth: int) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        _require_convertible(value)
    elif isinstance(value, float):
        _require_finite(value)
    elif depth == 0:
        raise PydanticCustomError(
            "json_depth", "lists and objects may be nested {depth} deep", {"depth": DEPTH}
        )
    elif isinstance(value, list | tuple):
        for inner in value:
            _require(inner, depth - 1)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _require_key(key)
            _require(inner, depth - 1)
    else:
        raise _not_json(value)


def _require_finite(value: float) -> None:
    if not math.isfinite(value):
        raise PydanticCustomError(
            "json_finite",
            "must be finite: NaN and infinities are not JSON; None, or null in a file, means that "
            "there is no value",
        )


def _require_convertible(value: int) -> None:
    if value.bit_length() > LARGEST_BITS:
        raise PydanticCustomError("json_integer", "must be an integer below 10^4300")


def _require_key(key: Any) -> None:
    if not isinstance(key, str):
        raise PydanticCustomError(
            "json_key", "keys must be strings, got {kind}", {"kind": type(key).__name__}
        )


def _not_json(value: Any) -> PydanticCustomError:
    kind = type(value)
    return PydanticCustomError(
        "json_type",
        "must be a JSON value (string, number, true, false, list, object) or None where there is "
        "no value, got {kind}; convert it first",
        {"kind": f"{kind.__module__}.{kind.__qualname__}"},
    )
