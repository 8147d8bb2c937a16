"""JSON Lines: one object a line, and everything that is wrong with a file told at once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from selip_core.errors import Problem

Row = TypeVar("Row")


def scan_json_lines(
    path: str | os.PathLike[str], validate: Callable[[bytes], Row]
) -> tuple[dict[int, Row], list[Problem]]:
    r"""What can be read of a file in UTF-8, by line number, and everything that is wrong with it.

    Lines end at a line feed and nowhere else; a byte order mark and blank lines are skipped, but
    counted.

    Args:
        path: The file.
        validate: Makes a row of a line, such as ``Report.model_validate_json``; what it cannot use
            raises a ``pydantic.ValidationError``.

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
    rows: dict[int, Row] = {}
    problems: list[Problem] = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            rows[number] = validate(line)
        except ValidationError as error:
            problems += _problems(error, f"{path.name}:{number}")
    return rows, problems


def _problems(error: ValidationError, where: str) -> list[Problem]:
    """Return what pydantic found wrong, with JSON paths and without values."""
    return [
        # What pydantic parsed was one line: its "line 1" is not the file's.
        Problem(f"{where} {_json_path(item['loc'])}", item["msg"].replace("at line 1 ", "at "))
        for item in error.errors(include_input=False, include_url=False)
    ]


def _json_path(location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "$" + "".join(steps)
