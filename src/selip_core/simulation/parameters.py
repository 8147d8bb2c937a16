"""What decides a simulated data set, apart from how many studies it has."""

from dataclasses import asdict, dataclass
from typing import Any

from selip_core.simulation.contrast import SEQUENCES


@dataclass(frozen=True)
class Parameters:
    """Parameters of the simulation; study number ``i`` depends on these and on ``i`` alone.

    Attributes:
        seed: Start of all chance; 0 or greater.
        spacing: Edge of a voxel in millimetres, 1 to 10.
        sequences: Which of `SEQUENCES` to make. The images of one do not depend on the others.
        normal_share: Share of normal studies, in ``[0, 1]``.
        tail: Power of the frequencies of kinds, sites and sides: 1 is a hospital's long tail, 0
            makes all equally frequent.
        split: Shares of train, validation and test; they sum to 1.
        held_out_share: Share of validation and test reports in held-out phrases, in ``[0, 1]``.

    Raises:
        ValueError: If a value is out of its range.

    Example:
        >>> Parameters(spacing=0.0)
        Traceback (most recent call last):
        ...
        ValueError: spacing must be between 1 and 10 mm, got 0.0
    """

    seed: int = 0
    spacing: float = 4.0
    sequences: tuple[str, ...] = SEQUENCES
    normal_share: float = 0.4
    tail: float = 1.0
    split: tuple[float, float, float] = (0.7, 0.15, 0.15)
    held_out_share: float = 0.5

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or greater, got {self.seed}")
        if not 1 <= self.spacing <= 10:
            raise ValueError(f"spacing must be between 1 and 10 mm, got {self.spacing}")
        unknown = [name for name in self.sequences if name not in SEQUENCES]
        if unknown or not self.sequences or len(set(self.sequences)) < len(self.sequences):
            raise ValueError(
                f"sequences must be distinct and among {', '.join(SEQUENCES)}; "
                f"got {', '.join(self.sequences) or 'none'}"
            )
        if not 0 <= self.normal_share <= 1:
            raise ValueError(f"normal_share must be between 0 and 1, got {self.normal_share}")
        if not 0 <= self.tail <= 5:
            raise ValueError(f"tail must be between 0 and 5, got {self.tail}")
        if min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(
                "split must hold three shares (train, validation, test) that sum to 1, "
                f"got {self.split}"
            )
        if not 0 <= self.held_out_share <= 1:
            raise ValueError(f"held_out_share must be between 0 and 1, got {self.held_out_share}")

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as they stand in ``simulation.json``."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
