"""What is given to an encoder or a pooling, held against what it declares."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from selip_core.errors import did_you_mean


def wrong_arguments(
    declared: Iterable[inspect.Parameter], given: Mapping[str, Any]
) -> dict[str, str]:
    """Return what is wrong with arguments, by their names: unknown, or of another type.

    Values out of range are not looked for: whatever takes them refuses them itself.

    Args:
        declared: The parameters of a function; those without a type take anything.
        given: Arguments by name, sequences as tuples.

    Example:
        >>> from selip_core.encoders.registry import option_parameters
        >>> wrong_arguments(option_parameters("resnet10"), {"widht": 0.5, "stages": "all"})
        {'widht': "unknown; did you mean 'width'?", 'stages': 'Input should be a valid integer'}
    """
    by_name = {each.name: each for each in declared}
    takes_any = any(each.kind is each.VAR_KEYWORD for each in by_name.values())
    wrong = {}
    for name, value in given.items():
        if name in by_name:
            message = _wrong_type(by_name[name], value)
        elif takes_any:
            message = None
        else:
            known = did_you_mean(name, by_name) if by_name else "there are none"
            message = f"unknown; {known}"
        if message:
            wrong[name] = message
    return wrong


def _wrong_type(parameter: inspect.Parameter, value: Any) -> str | None:
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    if parameter.annotation is parameter.empty:
        return None
    try:
        schema = TypeAdapter(parameter.annotation)
    except (PydanticUserError, NameError):  # a type of another package that pydantic knows not
        return None
    try:
        schema.validate_python(value, strict=True)
    except ValidationError as error:
        first, *more = error.errors()
        told = f"Input should be {inspect.formatannotation(parameter.annotation)}"
        return told if more else first["msg"]
    return None
