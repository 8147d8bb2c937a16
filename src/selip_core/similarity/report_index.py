"""Positions of reports by their ids."""

import hashlib
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from selip_core.similarity.operators import Index

if TYPE_CHECKING:
    from selip_core.findings import Report

_SHOWN = 10


@final
class ReportIndex:
    """The distinct reports of a corpus, in the order in which they came, by what they say.

    The same report may come several times (several volumes, one report). What a report says is
    known by one number, such as the position of its content; nothing of the report is kept.

    Args:
        ids: Distinct.
        says: One number an id.

    Example:
        >>> from selip_core import Report
        >>> index = ReportIndex()
        >>> [index.add(Report(id=id), says=7) for id in ("a", "b", "a")]
        [True, True, False]
        >>> index.positions(["b", "a"], "rows")
        tensor([1, 0])
    """

    def __init__(self, ids: Sequence[str] = (), says: Sequence[int] = ()) -> None:
        self._positions = {id: position for position, id in enumerate(ids)}
        self._says = array("q", says)
        self._read = 0
        self._conflicts: list[int] = []
        self._as_tensor: Index | None = None
        self._fingerprint: int | None = None

    def add(self, report: "Report", says: int) -> bool:
        """Add a report and return whether it is new; ``says`` is equal for what says the same."""
        position = self._positions.setdefault(report.id, len(self._says))
        self._read += 1
        if position == len(self._says):
            self._says.append(says)
            self._as_tensor = self._fingerprint = None
            return True
        if self._says[position] != says:
            self._conflicts.append(self._read - 1)
        return False

    def check(self) -> None:
        """Look at what was added.

        Raises:
            ValueError: If there is no report, or two different reports share an id.
        """
        if self._conflicts:
            raise ValueError(
                "different reports must have different ids; an earlier report has the id of the "
                f"reports at positions {self._conflicts[:_SHOWN]} ({len(self._conflicts)} in all)"
            )
        if not self._says:
            raise ValueError("a similarity needs at least one report to be fitted, got none")

    @property
    def ids(self) -> list[str]:
        """The ids, in order."""
        return list(self._positions)

    @property
    def says(self) -> Index:
        """What each report says."""
        if self._as_tensor is None:
            self._as_tensor = torch.tensor(self._says, dtype=torch.int64)
        return self._as_tensor

    @property
    def fingerprint(self) -> int:
        """A number (63 bits) that tells whether two corpora have the same ids in one order."""
        if self._fingerprint is None:
            digest = hashlib.sha256("\0".join(self._positions).encode("utf-8", "surrogatepass"))
            self._fingerprint = int.from_bytes(digest.digest()[:8], "big") >> 1
        return self._fingerprint

    def __len__(self) -> int:
        return len(self._says)

    def positions(
        self, ids: Sequence[str] | Index | None, name: str, *, show_ids: bool = False
    ) -> Index:
        """Return the positions (int64) of these ids; positions are checked; ``None`` is all.

        Raises:
            ValueError: If an id is not fitted; the message gives places in ``ids``, and the ids
                themselves with ``show_ids`` only.
        """
        if ids is None:
            return torch.arange(len(self))
        if isinstance(ids, Tensor):
            return self._checked(ids, name)
        if isinstance(ids, str):
            raise ValueError(f"{name} must be a sequence of ids, got one string; write [id]")
        found = [self._positions.get(id, -1) for id in ids]
        unknown = [place for place, position in enumerate(found) if position < 0]
        if unknown:
            shown = f" ({[ids[place] for place in unknown[:_SHOWN]]})" if show_ids else ""
            raise ValueError(
                f"{name} must hold ids of fitted reports; {len(unknown)} of {len(ids)} are not, "
                f"at places {unknown[:_SHOWN]}{shown}; fit or extend with all reports that "
                "training will show"
            )
        return torch.tensor(found, dtype=torch.int64)

    def _checked(self, positions: Index, name: str) -> Index:
        positions = positions.cpu()
        if positions.ndim != 1 or positions.dtype != torch.int64:
            raise ValueError(
                f"{name} must be ids or an int64 vector of positions, got {positions.dtype} of "
                f"shape {tuple(positions.shape)}"
            )
        if positions.numel() and not 0 <= int(positions.min()) <= int(positions.max()) < len(self):
            raise ValueError(
                f"{name} must be positions below {len(self)}, the number of fitted reports, got "
                f"{int(positions.min())} to {int(positions.max())}"
            )
        return positions
