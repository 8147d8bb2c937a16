"""Read JSON and TOML files that a user wrote, such as settings and definitions."""

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selip_core.containers import (
    WrongContainerError,
    encoding_advice,
    foreign_document,
    read_container,
)
from selip_core.errors import DataError, Problem
from selip_core.strict_json import DEPTH, TOO_DEEP, JsonError, is_deeper, json_path, parse_json

NOT_FINITE = "must be finite: TOML has nan and inf, and no setting takes them"


def read_json_document(path: str | os.PathLike[str]) -> Any:
    """Return the value of a JSON file.

    Raises:
        DataError: If it is another format, not JSON, or JSON that :func:`parse_json` refuses.
        OSError: If it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "settings.json"
        >>> _ = path.write_text('{"epochs": 2}')
        >>> read_json_document(path)
        {'epochs': 2}
    """
    return _read(Path(path), "JSON", _parse_json)


def read_toml_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        DataError: If it is another format, not TOML, holds nan or inf, or is nested deeper than
            :data:`DEPTH`.
        OSError: If it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "settings.toml"
        >>> _ = path.write_text("epochs = 2")
        >>> read_toml_document(path)
        {'epochs': 2}
    """
    values: dict[str, Any] = _read(Path(path), "TOML", _parse_toml)
    return values


def _read(path: Path, wanted: str, parse: Callable[[str, str], Any]) -> Any:
    try:
        text = _decoded(read_container(path, wanted))
        try:
            return parse(text, str(path))
        except DataError:
            foreign = foreign_document(text, wanted)
            if foreign is None:
                raise
            raise WrongContainerError(foreign) from None
    except WrongContainerError as error:
        raise DataError(f"{path} cannot be read", [Problem(str(path), str(error))]) from None


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WrongContainerError(f"is not in UTF-8; {encoding_advice(data)}") from None


def _place(name: str, path: str) -> str:
    """Return a place in a document as settings name it: ``"a.toml optimizer.warmup"``."""
    return f"{name} {path.removeprefix('$').removeprefix('.')}".strip()


def _parse_json(text: str, name: str) -> Any:
    try:
        return parse_json(text)
    except JsonError as error:
        problems = []
        for fault in error.faults:
            if fault.position is None:
                problems.append(Problem(_place(name, fault.path), fault.cause))
            else:
                line = text.count("\n", 0, fault.position) + 1
                problems.append(Problem(f"{name}:{line}", f"not JSON: {fault.cause}"))
        raise DataError(f"{name} cannot be read", problems) from None


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(text)
    except RecursionError:
        problems = [Problem(name, TOO_DEEP)]
    except ValueError as error:  # or an integer of more digits than Python converts
        problems = [_toml_problem(error, name)]
    else:
        problems = list(_toml_problems(values, name))
        if not problems:
            return values
    raise DataError(f"{name} cannot be read", problems)


def _toml_problems(values: dict[str, Any], name: str) -> Iterator[Problem]:
    if is_deeper(values, DEPTH):
        yield Problem(name, TOO_DEEP)
        return
    for path in _not_finite(values, ()):
        yield Problem(_place(name, json_path(path)), NOT_FINITE)


def _toml_problem(error: ValueError, name: str) -> Problem:
    """Return what is wrong with TOML, without the names and values that the parser quotes."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
    if found is None:
        return Problem(name, "not TOML: a number is too large or a value has no valid form")
    cause = re.sub(r"\(.*\)|'[^']{3,}'", "a key", found[1])
    where = f"{name}:{found[2]}" if found[2] else name
    return Problem(where, f"not TOML: {cause[:1].lower()}{cause[1:]}")


def _not_finite(value: Any, path: tuple[int | str, ...]) -> Iterator[tuple[int | str, ...]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    inner = value.items() if isinstance(value, dict) else ()
    for key, each in enumerate(value) if isinstance(value, list) else inner:
        yield from _not_finite(each, (*path, key))
