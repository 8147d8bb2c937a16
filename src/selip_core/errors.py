"""Errors of data, each with everything that is wrong with a file, and of writing."""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where.

    Attributes:
        where: The place, such as ``"reports.jsonl:3 $.findings[1].negated"``: a file as the user
            named it, a line (from 1), a JSON path. Never a value: values can name a patient.
        message: What was needed, what came, what to do.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def did_you_mean(wrong: str, known: Collection[str]) -> str:
    """Return the end of a message about a name that is not known: the one meant, or all.

    Example:
        >>> did_you_mean("widht", ["width", "stem"]), did_you_mean("x", ["width", "stem"])
        ("did you mean 'width'?", 'there are width, stem')
    """
    close = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


SHOWN = 100
"""Problems that a message shows; the error holds all."""


class DataError(ValueError):
    """All problems of one input, one a line; the message stops after the first hundred.

    Args:
        summary: What was being done, such as ``"manifest.jsonl cannot be read"``.
        problems: Everything found; none where the summary tells all, as PyTorch's data loader
            makes of an error in a worker.

    Attributes:
        summary: As given.
        problems: All of them.

    Example:
        >>> raise DataError("a.jsonl is not valid", [Problem("a.jsonl:2", "expected an object")])
        Traceback (most recent call last):
        ...
        selip_core.errors.DataError: a.jsonl is not valid (1 problem)
          a.jsonl:2: expected an object
    """

    def __init__(self, summary: str, problems: Iterable[Problem] = ()) -> None:
        self.summary = summary
        self.problems = tuple(problems)
        count = len(self.problems)
        counted = f" ({count} {'problem' if count == 1 else 'problems'})" if count else ""
        lines = [summary + counted]
        lines += map(str, self.problems[:SHOWN])
        if count > SHOWN:
            lines.append(f"... and {count - SHOWN} more")
        super().__init__("\n  ".join(lines))

    def __reduce__(self) -> tuple[type[Self], tuple[str, tuple[Problem, ...]]]:
        """Let the error travel whole between processes."""
        return type(self), (self.summary, self.problems)


class WriteError(OSError):
    """A file or folder that could not be written: a full disk, a read-only or deleted folder.

    The command line shows it as ``cannot write FILE: REASON; make room ...``, without a traceback.

    Attributes:
        errno: Number of the reason, such as :data:`errno.ENOSPC`.
        strerror: The reason in words.
        filename: The file or folder that was to be written, as the caller named it; never the
            temporary name under which it is written.

    Example:
        >>> import errno
        >>> error = WriteError(errno.ENOSPC, "No space left on device", "run/history.jsonl")
        >>> str(error), error.filename
        ("[Errno 28] No space left on device: 'run/history.jsonl'", 'run/history.jsonl')
    """
