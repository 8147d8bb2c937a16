"""Rows of finished runs: one JSON object a line, written by any number of processes."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evidence_runs import Run

Row = dict[str, Any]


class RowFile:
    """The rows of a folder of work, by the key of their run.

    Args:
        work: The folder; processes that share it share the runs.
    """

    def __init__(self, work: Path) -> None:
        self._path = work / "rows.jsonl"
        self._claims = work / "claims"
        self._claims.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Row]:
        """Return all whole rows by key; a line that a kill cut off is as if it were not there."""
        return read_rows(self._path) if self._path.exists() else {}

    def append(self, row: Row) -> None:
        """Write a row, on disk when this returns; after a line that was cut off on a new one."""
        line = json.dumps(row, ensure_ascii=False, allow_nan=True).encode() + b"\n"
        with self._path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0, os.SEEK_END)
            if file.tell() and not _ends_with_newline(file.fileno(), file.tell()):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def claim(self, run: Run) -> Iterator[bool]:
        """Try to take a run; yield False if another process works on it or has done it.

        A claim ends with its process, however that ends.
        """
        name = hashlib.sha256(run.key.encode()).hexdigest()[:24]
        with (self._claims / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield run.key not in self.read()


def read_rows(path: Path) -> dict[str, Row]:
    """Return the whole rows of a file by the key of their run; of equal keys the first."""
    rows: dict[str, Row] = {}
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows.setdefault(Run.from_json(row["run"]).key, row)
    return rows


def rounded(value: Any) -> Any:
    """Return the same with numbers of five significant digits: what is kept.

    Example:
        >>> rounded({"seconds": [1.2345678, 2]})
        {'seconds': [1.2346, 2]}
    """
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _ends_with_newline(descriptor: int, size: int) -> bool:
    return os.pread(descriptor, 1, size - 1) == b"\n"
