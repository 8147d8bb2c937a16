"""The two charts of the page: similarities of reports, and recall over training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from selip_core.report.content import Arm
from selip_core.report.drawing import COLOURS, chart, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEGIBLE_ON_COLOUR = 0.65


def matrix_chart(values: Float[np.ndarray, "n n"], title: str) -> str:
    """Similarities in [0, 1] as a grid of shaded cells, as an ``<svg>`` element.

    Rows and columns carry the numbers of the reports beside it, from 1.
    """
    count = len(values)
    with chart(3.9, 3.9) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for (row, column), value in np.ndenumerate(values):
            _draw_cell(axes, row, column, float(value))
        numbers = np.arange(count)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
        axes.set_xticks(numbers, [str(number + 1) for number in numbers])
        axes.set_yticks(numbers, [str(number + 1) for number in numbers])
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        alt = f"{title}: similarities of {count} reports, each number a cell of a grid"
        return inline_svg(figure, alt)


def _draw_cell(axes: "Axes", row: int, column: int, value: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (column - 0.46, row - 0.46)
    axes.add_patch(Rectangle(corner, 0.92, 0.92, color=COLOURS["rule"], alpha=0.35, linewidth=0))
    axes.add_patch(
        Rectangle(corner, 0.92, 0.92, color=COLOURS["similarity"], alpha=value, linewidth=0)
    )
    if 0.005 <= value < 0.995:
        colour = COLOURS["paper" if value > _LEGIBLE_ON_COLOUR else "ink"]
        text = f"{value:.2f}".removeprefix("0")
        axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)


def recall_chart(arms: Sequence[Arm]) -> str:
    """Validation R@1 of each arm over training, with the chance level, as an ``<svg>`` element."""
    from matplotlib.ticker import MaxNLocator

    with chart(4.4, 2.7) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        ends = []
        for arm in arms:
            rows = [row for row in arm.history if row.get("validation")]
            epochs = [row["epoch"] + 1 for row in rows]
            recalls = [row["validation"]["recall"] for row in rows]
            axes.plot(epochs, recalls, color=COLOURS[arm.key], linewidth=1.8, label=arm.name)
            ends += [recalls[-1]] if recalls else []
        chance = _chance(arms)
        axes.axhline(chance, color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 3)))
        axes.annotate(
            "chance",
            (0, chance),
            xycoords=("axes fraction", "data"),
            xytext=(3, 3),
            textcoords="offset points",
            color=COLOURS["muted"],
            fontsize=8,
        )
        axes.set(xlabel="epoch", ylabel="validation R@1", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.6)
        axes.tick_params(length=0)
        figure.legend(frameon=False, loc="outside upper left", ncols=len(arms), fontsize=8.5)
        told = " and ".join(
            f"{end:.2f} for {arm.name}" for arm, end in zip(arms, ends, strict=False)
        )
        alt = f"Validation R@1 over epochs, at the end {told}; chance {chance:.2f}"
        return inline_svg(figure, alt)


def _chance(arms: Sequence[Arm]) -> float:
    levels = [
        row["validation"]["chance"] for arm in arms for row in arm.history if row.get("validation")
    ]
    return levels[-1] if levels else float("nan")
