"""What a check of a data set found, for people and for programs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong (``"error"``) or odd (``"warning"``) with a data set.

    Attributes:
        severity: An error keeps the data from being used; a warning is for a person to judge.
        check: What was checked, such as ``"spacing"``.
        where: The place: file, line, JSON path.
        message: What is wrong and what to do, without a value from the data.
        value: The id or path concerned, which can name a patient: shown on request only.
    """

    severity: Literal["error", "warning"]
    check: str
    where: str
    message: str
    value: str | None = None


@dataclass(frozen=True)
class CheckResult:
    """Everything that was found.

    Attributes:
        manifest: The name of the manifest file.
        rows: Valid rows by split and sequence.
        issues: Errors first.

    Example:
        >>> result = CheckResult("m.jsonl", {"train": {"T2": 2}}, [
        ...     Issue("warning", "spacing", "m.jsonl:2 $.volume", "9 mm in depth", "p7.nii.gz")])
        >>> print(result.table())
        m.jsonl: 2 rows
          train       2  (T2 2)
        0 errors, 1 warning
        warning: spacing (1)
          m.jsonl:2 $.volume: 9 mm in depth
    """

    manifest: str
    rows: Mapping[str, Mapping[str, int]]
    issues: Sequence[Issue]

    @property
    def errors(self) -> int:
        """How many errors there are; the data can be used if there are none."""
        return sum(issue.severity == "error" for issue in self.issues)

    @property
    def warnings(self) -> int:
        """How many warnings there are."""
        return len(self.issues) - self.errors

    def table(self, show_values: bool = False, limit: int = 20) -> str:
        """Return a text for people: counts, then at most ``limit`` issues of each kind."""
        total = sum(sum(sequences.values()) for sequences in self.rows.values())
        lines = [f"{self.manifest}: {_count(total, 'row')}"]
        for split, sequences in self.rows.items():
            named = ", ".join(f"{name} {count}" for name, count in sequences.items())
            lines.append(f"  {split:<10}{sum(sequences.values()):>3}  ({named})")
        lines.append(f"{_count(self.errors, 'error')}, {_count(self.warnings, 'warning')}")
        kinds: dict[tuple[str, str], list[Issue]] = defaultdict(list)
        for issue in self.issues:
            kinds[issue.severity, issue.check].append(issue)
        for (severity, check), issues in kinds.items():
            lines.append(f"{severity}: {check} ({len(issues)})")
            lines += [f"  {_line(issue, show_values)}" for issue in issues[:limit]]
            if len(issues) > limit:
                lines.append(f"  and {len(issues) - limit} more; --json FILE has them all")
        return "\n".join(lines)

    def as_dict(self, show_values: bool = False) -> dict[str, Any]:
        """Return everything as JSON values; ids and paths only with ``show_values``."""
        hidden = set() if show_values else {"value"}
        return {
            "manifest": self.manifest,
            "rows": {split: dict(sequences) for split, sequences in self.rows.items()},
            "errors": self.errors,
            "warnings": self.warnings,
            "issues": [
                {key: value for key, value in vars(issue).items() if key not in hidden}
                for issue in self.issues
            ],
        }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _line(issue: Issue, show_values: bool) -> str:
    shown = f" [{issue.value}]" if show_values and issue.value is not None else ""
    return f"{issue.where}: {issue.message}{shown}"
