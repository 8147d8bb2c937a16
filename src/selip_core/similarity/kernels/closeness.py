"""Closeness of numbers with units, such as the size of a lesion."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.kernels.field import Missing
from selip_core.similarity.kernels.line import LineKernel
from selip_core.similarity.kernels.quantities import Quantity, read_quantity


@final
@dataclass(frozen=True)
class Closeness(LineKernel):
    """``exp(-|a - b| / scale)`` of quantities of one kind."""

    scale: float | str

    def __post_init__(self) -> None:
        super().__post_init__()
        scale = self._scale
        if scale is None or scale.magnitude <= 0:
            raise ValueError(
                "scale must be a positive number (of mm, mm2, ml or one, whatever is compared) or "
                f"a text with a unit, such as '5 mm', got {self.scale!r}"
            )

    def place(self, value: str) -> tuple[Hashable, float]:
        """Return the kind of quantity, and how many scales it is; else a line of its own."""
        quantity, scale = read_quantity(value), self._scale
        if quantity is None or scale is None:
            return value, 0.0
        if isinstance(self.scale, str) and quantity.unit != scale.unit:
            return quantity, 0.0
        place = quantity.magnitude / scale.magnitude
        return ((quantity.unit,), place) if math.isfinite(place) else (quantity, 0.0)

    def of_gap(self, gaps: Float[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
        """Return ``exp(-gap)``."""
        return gaps.neg_().exp_()

    @property
    def _scale(self) -> Quantity | None:
        return read_quantity(str(self.scale))


def closeness(
    field: str | tuple[str, ...], scale: float | str, *, missing: Missing = "equal"
) -> Closeness:
    """Return the kernel that compares a field by how close its numbers are.

    ``exp(-|a - b| / scale)``, in ``(0, 1]``: 0.37 for numbers that are ``scale`` apart. Units are
    read: ``"3 mm"`` and ``"0.3 cm"`` are equal (1). Of several diameters (``"12 x 8 mm"``) the
    largest counts, of a range (``"3-5 mm"``) the middle. Quantities of different kinds (a length,
    an area, a volume, a plain number) are 0; a value that is no number matches only itself.

    Args:
        field: The field to read; or several as a tuple, whose words are joined.
        scale: How far apart numbers are whose similarity is ``1 / e``: in millimetres for lengths,
            mm2 for areas, millilitres for volumes, ones for plain numbers. Or a text with a unit,
            ``"5 mm"``: then only its kind is compared by closeness, and quantities of other kinds
            match if they are equal.
        missing: What a pair with a missing value is worth, see
            :data:`~selip_core.similarity.Missing`.

    Raises:
        ValueError: If ``scale`` is not a positive number with or without a unit.

    Example:
        >>> import torch
        >>> kernel = closeness("extent", scale=5.0)
        >>> values = kernel.read(["3 mm", "0.3 cm", "8 mm", "3 ml"])
        >>> kernel.compare(values, torch.tensor([0, 0, 0]), torch.tensor([1, 2, 3]))
        tensor([1.0000, 0.3679, 0.0000], dtype=torch.float64)
    """
    return Closeness(field, scale if isinstance(scale, str) else float(scale), missing=missing)
