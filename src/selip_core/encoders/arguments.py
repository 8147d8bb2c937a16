"""What is given to an encoder or a pooling, held against what it declares."""

import inspect
import json
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
    declared = [*declared]
    by_name = {each.name: each for each in declared if each.kind is not each.VAR_KEYWORD}
    takes_any = len(by_name) < len(declared)
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


def require_arguments(
    owner: str, declared: Iterable[inspect.Parameter], given: Mapping[str, Any]
) -> None:
    """Refuse what :func:`wrong_arguments` finds.

    Args:
        owner: What the options are of.
        declared: The parameters of a function; those without a type take anything.
        given: Arguments by name.

    Raises:
        ValueError: Of all that are wrong.
    """
    declared = [*declared]
    wrong = wrong_arguments(declared, given)
    if not wrong:
        return
    told = "; ".join(f"{name}: {message}" for name, message in wrong.items())
    known = [each.name for each in declared]
    raise ValueError(f"wrong options of {owner}: {told}. Its options are {known}")


def _wrong_type(parameter: inspect.Parameter, value: Any) -> str | None:
    from pydantic import TypeAdapter, ValidationError

    if parameter.annotation is parameter.empty or value is parameter.default:
        return None
    try:
        schema = TypeAdapter(parameter.annotation)
        schema.rebuild()
    except Exception:  # another package may annotate with what pydantic cannot read
        return None
    try:
        schema.validate_python(value, strict=True)
    except ValidationError as error:
        if _is_told_in_json(schema, value):
            return None
        first, *more = error.errors()
        told = f"Input should be {inspect.formatannotation(parameter.annotation)}"
        return told if more else first["msg"]
    return None


def _is_told_in_json(schema: Any, value: Any) -> bool:
    """Whether JSON would give the type: there, a tuple is also a list, and a path a text."""
    try:
        schema.validate_json(json.dumps(value), strict=True)
    except (TypeError, ValueError):
        return False
    return True
