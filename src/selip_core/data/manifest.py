"""The manifest: which volume belongs to which report."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from selip_core.findings import Report
from selip_core.findings.json_values import JsonField

KNOWN_SEQUENCES = frozenset(
    {"T1", "T1CE", "T2", "FLAIR", "DWI", "ADC", "SWI", "T2STAR", "PD", "MRA", "ASL", "CT"}
)
"""The sequences that a manifest may name unless it is read with a set of its own."""

Split = Literal["train", "validation", "test"]


def _stays_inside(path: str) -> str:
    """Return the path if it is relative and stays in the manifest's folder on every platform."""
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).anchor or "\\" in path:
        raise PydanticCustomError(
            "relative_path",
            "must be relative to the manifest's folder, with forward slashes; got an absolute path "
            "or backslashes",
        )
    if "\0" in path:
        raise PydanticCustomError("relative_path", "must not hold a NUL character")
    if ".." in PurePosixPath(path).parts:
        raise PydanticCustomError(
            "relative_path",
            "must stay inside the manifest's folder, got a path with '..'; move the data there, or "
            "make a symbolic link to it there",
        )
    return path


Name = Annotated[str, Field(min_length=1)]
RelativePath = Annotated[str, Field(min_length=1), AfterValidator(_stays_inside)]


class ManifestRow(BaseModel):
    """One volume of one sequence and the report that describes it. Keys of your own are kept.

    Attributes:
        id: The row's own name, unique in the manifest.
        study: The examination; all its sequences share it.
        patient: Who was examined; a patient belongs to one split.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        sequence: ``"T1"``, ``"T2"``, ``"FLAIR"``, ``"DWI"``, ``"ADC"``, or another known one.
        volume: A NIfTI file or a DICOM folder, relative to the manifest's folder.
        report: The id of the report; several rows may share one.
        mask: A NIfTI file on the grid of the volume (lesions, for one), or None.

    Example:
        >>> row = ManifestRow(id="7-T2", study="7", patient="p3", split="train", sequence="T2",
        ...                   volume="volumes/7/T2.nii.gz", report="7-T2", scanner="Prisma")
        >>> row.model_extra
        {'scanner': 'Prisma'}
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)
    __pydantic_extra__: dict[str, JsonField] = Field(init=False)

    id: Name
    study: Name
    patient: Name
    split: Split
    sequence: Name
    volume: RelativePath
    report: Name
    mask: RelativePath | None = None


@dataclass(frozen=True)
class Manifest:
    """Rows and their reports, as read from ``path``.

    Attributes:
        path: The manifest file, as it was named by whoever read it.
        rows: One a volume, in the order of the file.
        reports: By id.
        lines: The line of each row in the file, from 1; so that a message can name the place.
    """

    path: Path
    rows: tuple[ManifestRow, ...]
    reports: dict[str, Report]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def volume_path(self, index: int) -> Path:
        """Return where the volume of row ``index`` lies."""
        return self.path.parent / self.rows[index].volume

    def report_of(self, index: int) -> Report:
        """Return the report of row ``index``."""
        return self.reports[self.rows[index].report]

    def place(self, index: int, field: str) -> str:
        """Return where a field stands, such as ``"manifest.jsonl:12 $.volume"``: for messages."""
        return f"{self.path.name}:{self.lines[index]} $.{field}"

    def select(
        self, split: Split | None = None, sequences: Collection[str] | None = None
    ) -> "Manifest":
        """Return the rows of a split, of some sequences, or of both, with only their reports.

        None takes all. The result may be empty, for a manifest without validation rows say.

        Raises:
            ValueError: If ``sequences`` is one string.
        """
        if isinstance(sequences, str):
            raise ValueError(f"sequences must be a collection such as ['T2'], got {sequences!r}")
        kept = [
            index
            for index, row in enumerate(self.rows)
            if split in (None, row.split) and (sequences is None or row.sequence in sequences)
        ]
        named = {self.rows[index].report for index in kept}
        return Manifest(
            path=self.path,
            rows=tuple(self.rows[index] for index in kept),
            reports={id: report for id, report in self.reports.items() if id in named},
            lines=tuple(self.lines[index] for index in kept),
        )
