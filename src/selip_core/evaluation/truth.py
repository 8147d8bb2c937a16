"""The truth behind simulated studies: the lesions that were drawn."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from selip_core.errors import DataError, Problem
from selip_core.jsonl import scan_json_lines


@dataclass(frozen=True)
class Lesion:
    """One simulated lesion, as it was drawn.

    Attributes:
        kind: Such as ``"acute infarct"``.
        site: Where it lies.
        laterality: Its side; None on the midline.
        volume_ml: Its volume in millilitres.
        visible_in: The sequences that show it.
        label: Its value in the mask of the study's lesions; None if there is no mask.
    """

    kind: str
    site: str
    laterality: str | None
    volume_ml: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    visible_in: frozenset[str]
    label: int | None = None


@dataclass(frozen=True)
class _Row:
    study: str
    lesions: tuple[Lesion, ...]


def read_truth(path: str | Path) -> dict[str, tuple[Lesion, ...]]:
    """The lesions of each study, by study id, from a ``truth.jsonl``; other keys are not read.

    Raises:
        DataError: With every problem of the file: its line, its JSON path, what was expected.
        OSError: If the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "truth.jsonl"
        >>> _ = path.write_text('{"study": "a", "lesions": []}')
        >>> read_truth(path)
        {'a': ()}
    """
    path = Path(path)
    rows, problems = scan_json_lines(path, TypeAdapter(_Row).validate_json)
    first: dict[str, int] = {}
    for number, row in rows.items():
        if first.setdefault(row.study, number) != number:
            message = f"line {first[row.study]} has this study too"
            problems.append(Problem(f"{path.name}:{number} $.study", message))
    if problems:
        raise DataError(f"{path.name} cannot be read", problems)
    return {row.study: row.lesions for row in rows.values()}
