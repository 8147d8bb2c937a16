"""Axial slices of a study, with the outlines of its lesions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from selip_core.report.content import Picture
from selip_core.report.drawing import chart, png

OUTLINES = ("#ffb21a", "#4cc4ff", "#ff7ab3", "#9de34f")
"""Colour of a lesion's outline, by its place among the lesions of a study."""

_MARGIN = 1
_INCHES = 2.4
_FINER = 4


@dataclass(frozen=True, eq=False)
class Slice:
    """One axial plane of a study, seen as radiologists do: the patient's left is on the right.

    Attributes:
        index: Along the third axis of the volumes.
        mm: Its height (RAS).
        lesions: Rows anterior to posterior; 0, or the label of a lesion.
        window: Rows and columns that the head fills.
    """

    index: int
    mm: float
    lesions: UInt8[np.ndarray, "rows columns"]
    window: tuple[slice, slice]

    def view(self, volume: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "rows columns"]:
        """The plane of a volume, cut to the window."""
        return _radiological(volume[:, :, self.index])[self.window]


def slice_through(
    mask: UInt8[np.ndarray, "x y z"],
    volume: Float[np.ndarray, "x y z"],
    affine: Float[np.ndarray, "4 4"],
    labels: Sequence[int],
) -> Slice:
    """The slice that cuts the most of these lesions and, of those, shows the largest area.

    Args:
        mask: Labels of lesions, in RAS order.
        volume: A volume of the same study, on the same grid; it tells where the head is.
        affine: From voxels to millimetres.
        labels: The lesions that matter; without any, the slice in the middle of the head.
    """
    index = _richest_slice(mask, labels) if labels else int(np.argwhere(volume > 0)[:, 2].mean())
    head = _radiological(volume.max(axis=2) > 0)
    rows, columns = (np.flatnonzero(head.any(axis=axis)) for axis in (1, 0))
    window = (_padded(rows), _padded(columns))
    height = float(affine[2, 2] * index + affine[2, 3])
    lesions = _radiological(mask[:, :, index])[window].astype(np.uint8)
    return Slice(index, height, lesions, window)


def draw_slice(
    plane: Slice, volume: Float[np.ndarray, "x y z"], visible: Sequence[int], alt: str
) -> Picture:
    """One sequence on this slice: lesions that it shows outlined, others dotted."""
    view = plane.view(volume)
    high = _white_level(volume[volume > 0])
    height, width = view.shape
    with chart(_INCHES * width / height, _INCHES) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        axes.imshow(view, cmap="gray", vmin=0.0, vmax=high, interpolation="bicubic")
        _outline(axes, plane.lesions, visible)
        return png(figure, alt)


def _white_level(signal: np.ndarray) -> float:
    """Fluid may be white where it is bright; else tissue stays grey, so that lesions stand out."""
    if not signal.size:
        return 1.0
    return float(max(np.percentile(signal, 98), 1.6 * np.median(signal)))


def _outline(axes: Any, lesions: UInt8[np.ndarray, "rows columns"], visible: Sequence[int]) -> None:
    from scipy.ndimage import zoom

    for label in np.unique(lesions[lesions > 0]).tolist():
        region = zoom(
            (lesions == label).astype(float), _FINER, order=3, mode="grid-constant", grid_mode=True
        )
        style = "solid" if label in visible else "dotted"
        colour = OUTLINES[(label - 1) % len(OUTLINES)]
        rows, columns = ((np.arange(size) + 0.5) / _FINER - 0.5 for size in region.shape)
        axes.contour(columns, rows, region, [0.4], colors=colour, linewidths=1.4, linestyles=style)


def _richest_slice(mask: np.ndarray, labels: Sequence[int]) -> int:
    areas = np.stack([(mask == label).sum(axis=(0, 1)) for label in labels])
    cut = (areas > 0).sum(axis=0)
    return int(np.lexsort((areas.sum(axis=0), cut))[-1])


def _radiological(plane: np.ndarray) -> np.ndarray:
    return plane[::-1, ::-1].T


def _padded(filled: np.ndarray) -> slice:
    return slice(max(0, int(filled[0]) - _MARGIN), int(filled[-1]) + 1 + _MARGIN)
