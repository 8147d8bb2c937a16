"""Messages for pydantic's validation errors, in the terms of a user's JSON or TOML."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WANTED = {
    "string_type": "a string",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
    "dataclass_exact_type": "an object",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
}
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "a string"),
    (dict, "an object"),
    ((list, tuple), "a list"),
    (bytes, "an object"),  # a line that pydantic parsed itself
)


def kind_of(value: Any) -> str:
    """Return what kind of JSON value it is, for a message; never the value.

    Example:
        >>> kind_of(3), kind_of(None), kind_of({})
        ('a number', 'null', 'an object')
    """
    if value is None:
        return "null"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)


def message_of(error: "ErrorDetails") -> str:
    """Return what is wrong with a value and what it must be; the value is not shown.

    Args:
        error: One entry of ``ValidationError.errors()``.

    Example:
        >>> from pydantic import BaseModel, ValidationError
        >>> class Row(BaseModel):
        ...     id: str
        >>> try:
        ...     Row.model_validate({"id": 7})
        ... except ValidationError as error:
        ...     print(message_of(error.errors()[0]))
        must be a string, got a number; put it in quotes
    """
    kind = error["type"]
    if kind == "missing":
        return "this key is missing, and it is required"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "json_invalid":  # the line was parsed before: only a string of no text is left
        return "a string holds half of a surrogate pair (\\ud800 to \\udfff); write the character"
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}"
    if kind not in _WANTED:
        return error["msg"].removeprefix("Value error, ")
    got = kind_of(error.get("input"))
    advice = "; put it in quotes" if kind == "string_type" and got == "a number" else ""
    return f"must be {_WANTED[kind]}" + (f", got {got}" if got != _WANTED[kind] else "") + advice
