"""JSON Lines: one JSON object per line, read with everything that is wrong with a file at once."""

import gc
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from selip_core.containers import (
    JSON_LINES,
    WrongContainerError,
    encoding_advice,
    foreign_text,
    read_container,
)
from selip_core.errors import Problem
from selip_core.strict_json import JsonError, JsonFault, json_path, parse_json
from selip_core.validation_messages import message_of

Row = TypeVar("Row")

LONGEST_LINE = 1 << 24
"""Bytes of the longest line that is read: a report has thousands."""


Faults = Mapping[int, Sequence[JsonFault]]
"""What is wrong with the lines of a file, by line number."""


def scan_json_lines(
    path: str | os.PathLike[str],
    validate: Callable[[bytes], Row],
    foreign_rows: Callable[[Faults], str | None] = lambda faults: None,
) -> tuple[dict[int, Row], list[Problem]]:
    r"""Return the rows of a file by line number, and everything that is wrong with it.

    Lines end at a line feed and nowhere else; a byte order mark and blank lines are skipped, but
    counted. NaN, infinities and keys that occur twice in an object are problems. A file that is no
    JSON Lines (a table, one array, another encoding) is one problem, and so is one cause on most
    lines.

    Args:
        path: The file, in UTF-8.
        validate: Makes a row of a line, such as ``Report.model_validate_json``; what it cannot use
            raises a ``pydantic.ValidationError``.
        foreign_rows: Returns what the file is if its objects are those of another one; asked where
            most lines are wrong.

    Raises:
        OSError: If the file cannot be read.

    Example:
        >>> import tempfile
        >>> from pydantic import TypeAdapter
        >>> path = Path(tempfile.mkdtemp()) / "ages.jsonl"
        >>> _ = path.write_text('{"age": 3}\n\n{"age": "old"}\n')
        >>> rows, problems = scan_json_lines(path, TypeAdapter(dict[str, int]).validate_json)
        >>> rows, problems[0].where
        ({1: {'age': 3}}, 'ages.jsonl:3 $.age')
    """
    path = Path(path)
    try:
        data = read_container(path, JSON_LINES)
    except WrongContainerError as error:
        return {}, [Problem(path.name, str(error))]
    rows: dict[int, Row] = {}
    faults: dict[int, Sequence[JsonFault]] = {}
    with _paused_collection():
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                parse_json(_text(line))
                rows[number] = validate(line)
            except JsonError as error:
                faults[number] = error.faults
            except ValidationError as error:
                faults[number] = _faults(error)
    if len(faults) > len(rows):
        foreign = foreign_text(data, JSON_LINES) or foreign_rows(faults)
        if foreign is not None:
            return {}, [Problem(path.name, foreign)]
    return rows, _problems(path.name, faults, len(rows) + len(faults))


@contextmanager
def _paused_collection() -> Iterator[None]:
    """Pause the search for reference cycles, of which rows have none: two thirds of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _text(line: bytes) -> str:
    if len(line) > LONGEST_LINE:
        cause = f"the line has {len(line):,} bytes, and at most {LONGEST_LINE:,} are read"
        raise JsonError((JsonFault("$", cause),))
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        cause = f"not UTF-8; {encoding_advice(line)}"
        raise JsonError((JsonFault("$", cause, error.start),)) from None


def _faults(error: ValidationError) -> list[JsonFault]:
    return [
        JsonFault(json_path(item["loc"]), message_of(item))
        for item in error.errors(include_url=False)
    ]


def _problems(name: str, faults: Faults, lines: int) -> list[Problem]:
    """Return a problem for each fault, and only one for a cause that most lines have."""
    causes: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, found in faults.items():
        for fault in found:
            causes[_cause(fault)].add(number)
    problems: list[Problem] = []
    for number, found in faults.items():
        for fault in found:
            same = causes[_cause(fault)]
            if len(same) < 3 or 2 * len(same) <= lines:
                problems.append(Problem(f"{name}:{number} {fault.path}", _message(fault)))
            elif number == min(same):
                more = f" (the first of {len(same):,} such lines of {lines:,})"
                problems.append(Problem(f"{name}:{number} {fault.path}", _message(fault) + more))
    return problems


def _cause(fault: JsonFault) -> tuple[str, str]:
    if fault.position is not None:  # where a parser stops in what is no JSON is chance
        return fault.path, "not JSON"
    return re.sub(r"\[\d+\]", "[]", fault.path), fault.cause


def _message(fault: JsonFault) -> str:
    if fault.position is None:
        return fault.cause
    return f"not JSON at column {fault.position + 1}: {fault.cause}"
