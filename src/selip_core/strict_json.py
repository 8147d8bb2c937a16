"""Strict parsing of JSON (RFC 8259): no NaN, no infinity, no key twice in one object."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DEPTH = 100
"""Levels of nested objects and lists that a document may have."""

NOT_JSON = "NaN and Infinity are not JSON (RFC 8259, section 6); write null where there is no value"
TOO_LARGE = "the number is too large; JSON numbers here are finite, and integers below 10^4300"
TOO_DEEP = f"objects and lists may be nested {DEPTH} deep; this is deeper"
TWICE = "this key occurs twice in its object, and only one value could count; keep one"

_CUT = "it ends within an object, list or string; it may be cut, or continue on the next line"
_CAUSES = {
    "Expecting value": "a value was expected",
    "Expecting property name enclosed in double quotes": "a key in double quotes was expected",
    "Expecting ':' delimiter": "a colon was expected after a key",
    "Expecting ',' delimiter": "a comma or a closing bracket was expected",
    "Unterminated string starting at": _CUT,
    "Invalid control character at": "a string holds a control character; escape it, as in \\n",
    "Invalid \\escape": "a string holds a backslash that escapes nothing; write \\\\ for one",
    "Invalid \\uXXXX escape": "a string holds an incomplete \\u escape",
    "Illegal trailing comma before end of object": "there is a comma before a closing bracket",
    "Illegal trailing comma before end of array": "there is a comma before a closing bracket",
    "Extra data": "more follows after the value",
}
_SHOWN_KEY = re.compile(r"[A-Za-z_]{1,30}")


@dataclass(frozen=True)
class JsonFault:
    """One reason why a text is not accepted.

    Attributes:
        path: The JSON path, such as ``"$.findings[0].lobe"``; ``"$"`` for a text that is no JSON.
        cause: What is wrong and what to do, without a value of the text.
        position: The character at which parsing stopped, from 0; None if the text could be parsed.
    """

    path: str
    cause: str
    position: int | None = None


class JsonError(ValueError):
    """A text that is not JSON, or that two readers could read differently.

    Attributes:
        faults: Everything found, at least one.
    """

    def __init__(self, faults: tuple[JsonFault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault.path}: {fault.cause}" for fault in faults))


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        JsonError: If it is not JSON, holds NaN, an infinity or a number beyond float64, has a key
            twice in one object, or is nested deeper than :data:`DEPTH`.

    Example:
        >>> parse_json('{"a": [1, null]}')
        {'a': [1, None]}
        >>> parse_json('{"a": {"b": 1, "b": 2}}')
        Traceback (most recent call last):
        ...
        selip_core.strict_json.JsonError: $.a.b: this key occurs twice in its object, ...
    """
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise JsonError(_faults(text, error)) from None
    if text.count("{") + text.count("[") > DEPTH and is_deeper(value, DEPTH):
        raise JsonError((JsonFault("$", TOO_DEEP),))
    return value


def is_deeper(value: Any, depth: int) -> bool:
    """Return whether a value has more levels of lists and objects than ``depth``.

    Example:
        >>> is_deeper([{"a": []}], 2), is_deeper([{"a": 1}], 2)
        (True, False)
    """
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(is_deeper(each, depth - 1) for each in inner)


def json_path(steps: tuple[int | str, ...]) -> str:
    """Return a JSON path; of a key that is not a plain name only that there is one.

    Keys such as ``"patient 7"`` are ids in some layouts, and no message shows these.

    Example:
        >>> json_path(("findings", 0, "site")), json_path(("patient 7", "site"))
        ('$.findings[0].site', '$.*.site')
    """
    return "$" + "".join(map(_step, steps))


def _step(step: int | str) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _SHOWN_KEY.fullmatch(step) else ".*"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(TWICE)
    return values


def _refuse(constant: str) -> Any:
    raise ValueError(NOT_JSON)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(TOO_LARGE)
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)


class _Marked(list[Any]):
    """The pairs of an object, as they were written."""


class _Unusable:
    """A number that cannot be used, in its place, with the reason."""

    def __init__(self, cause: str) -> None:
        self.cause = cause


def _faults(text: str, error: Exception) -> tuple[JsonFault, ...]:
    """Return every fault with its path: the fast decoder stops at the first and knows no paths."""
    if isinstance(error, RecursionError):
        return (JsonFault("$", TOO_DEEP),)
    decoder = json.JSONDecoder(
        object_pairs_hook=_Marked,
        parse_constant=lambda _: _Unusable(NOT_JSON),
        parse_float=lambda number: _marked_number(float, number),
        parse_int=lambda number: _marked_number(int, number),
    )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as wrong:
        return (JsonFault("$", _cause(text, wrong), wrong.pos),)
    except RecursionError:
        return (JsonFault("$", TOO_DEEP),)
    return tuple(_walk(value, ()))


def _marked_number(kind: type[int] | type[float], number: str) -> Any:
    try:
        value = kind(number)
    except ValueError:  # Python converts no integers beyond 4,300 digits
        return _Unusable(TOO_LARGE)
    return _Unusable(TOO_LARGE) if value in (math.inf, -math.inf) else value


def _walk(value: Any, path: tuple[int | str, ...]) -> Iterator[JsonFault]:
    if len(path) > DEPTH:
        yield JsonFault("$", TOO_DEEP)
    elif isinstance(value, _Unusable):
        yield JsonFault(json_path(path), value.cause)
    elif isinstance(value, _Marked):
        seen = set()
        for key, inner in value:
            if key in seen:
                yield JsonFault(json_path((*path, key)), TWICE)
            seen.add(key)
            yield from _walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, index))


def _cause(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text.rstrip()):
        return _CUT
    following = text[error.pos :]
    if following.startswith("\0"):
        return "it holds NUL bytes, as a crash or a full disk leaves them"
    if following.startswith(("}", "]")) and error.msg.startswith("Expecting "):
        return "a closing bracket was not expected; is there a comma before it?"
    if following.startswith(("//", "/*", "#")):
        return "JSON has no comments; remove them"
    return _CAUSES.get(error.msg, error.msg[:1].lower() + error.msg[1:])
