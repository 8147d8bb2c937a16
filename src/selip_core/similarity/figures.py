"""Pictures of a similarity. They need no display and leave nothing of matplotlib's behind."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from selip_core._optional import require
from selip_core.similarity.operators import SimilarityOperator

if TYPE_CHECKING:
    import numpy
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    Drawing: TypeAlias = tuple[Figure | SubFigure, Axes]

# Okabe and Ito's colours, told apart by colour-blind readers too.
_BLUE, _SKY, _ORANGE, _RULE = "#0072B2", "#56B4E9", "#D55E00", "#DDDDDD"
_LARGEST_LABELLED = 60
_LARGEST_NUMBERED = 16
_DARK = 0.55


def new_axes(
    rows: int = 1, columns: int = 1, *, inches: tuple[float, float] = (4.6, 3.2)
) -> "tuple[Figure, tuple[Axes, ...]]":
    """Return a figure of so many panels, and their axes row by row.

    Args:
        rows: Of panels.
        columns: Of panels.
        inches: Width and height of a panel.

    Raises:
        ImportError: If matplotlib is not installed; the message names the extra.
    """
    require("matplotlib", "plot")
    from matplotlib.figure import Figure

    width, height = inches
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, tuple(figure.subplots(rows, columns, squeeze=False).flat)


def plot_own_mass(
    sizes: Sequence[int],
    own: Sequence[float],
    same: Sequence[float],
    distinct: Sequence[float],
    least: float,
    *,
    axes: "Axes | None" = None,
) -> "Drawing":
    """Draw the own-pair mass against the batch size, and the line under which it is diffuse.

    Args:
        sizes: Reports in a batch.
        own: The share of the own report in its row, in ``[0, 1]``, a number a size.
        same: The share of all reports that say the same; likewise.
        distinct: The same, where reports that say the same count as one; likewise.
        least: Where the line is drawn, of what is distinct.
        axes: Where to draw; ``None``: a new figure.
    """
    axes = _against_size(sizes, axes)
    axes.plot(sizes, same, "s--", color=_SKY, label="with reports that say the same")
    axes.plot(sizes, own, "o-", color=_BLUE, label="own report")
    axes.plot(sizes, distinct, "^-.", color=_ORANGE, label="with the same, each counted once")
    axes.axhline(
        least, color=_ORANGE, linewidth=1.2, linestyle=":", label=f"diffuse below {least:g}"
    )
    axes.set(title="Own-pair mass", ylabel="mean share of the row", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize="small")
    return axes.figure, axes


def plot_positives(
    sizes: Sequence[int], positives: Sequence[float], *, axes: "Axes | None" = None
) -> "Drawing":
    """Draw the effective number of positives of a row against the batch size.

    Args:
        sizes: Reports in a batch.
        positives: From 1 to the size, a number a size.
        axes: Where to draw; ``None``: a new figure.
    """
    from matplotlib.ticker import StrMethodFormatter

    axes = _against_size(sizes, axes)
    axes.plot(sizes, sizes, linestyle=":", color=_ORANGE, linewidth=1.2, label="all reports alike")
    axes.plot(sizes, positives, "o-", color=_BLUE, label="this similarity")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.4g}"))
    axes.set(title="Effective positives", ylabel="exp(entropy of the row), reports")
    axes.set_ylim(0.9, max(sizes) * 1.1)
    axes.legend(frameon=False, fontsize="small", loc="upper left")
    return axes.figure, axes


def plot_false_negatives(
    sizes: Sequence[int],
    shares: Sequence[float],
    threshold: float,
    *,
    axes: "Axes | None" = None,
) -> "Drawing":
    """Draw how many reports plain CLIP pushes from another that is alike, against the batch size.

    Args:
        sizes: Reports in a batch.
        shares: In ``[0, 1]``, a number a size.
        threshold: Similarity from which on two reports count as alike.
        axes: Where to draw; ``None``: a new figure.
    """
    from matplotlib.ticker import PercentFormatter

    axes = _against_size(sizes, axes)
    axes.plot(sizes, shares, "o-", color=_BLUE)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(title="False negatives of plain CLIP", ylim=(0, 1.02))
    axes.set_ylabel(f"rows with another at ≥ {threshold:g}")
    return axes.figure, axes


def plot_similarities(counts: Sequence[int], *, axes: "Axes | None" = None) -> "Drawing":
    """Draw the histogram of similarities of pairs of different reports.

    Args:
        counts: Pairs in equal bins of ``[0, 1]``.
        axes: Where to draw; ``None``: a new figure.
    """
    axes = _axes(axes)
    pairs, width = max(sum(counts), 1), 1 / max(len(counts), 1)
    lefts = [number * width for number in range(len(counts))]
    axes.bar(lefts, [n / pairs for n in counts], width, align="edge", color=_BLUE, edgecolor="w")
    axes.set(title="Similarities", xlabel="similarity of two reports", xlim=(0, 1))
    axes.set_ylabel("share of pairs")
    if any(counts):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    _quieten(axes)
    return axes.figure, axes


def plot_batch(
    operator: SimilarityOperator,
    labels: Sequence[str] | None = None,
    *,
    axes: "Axes | None" = None,
) -> "Drawing":
    """Draw the similarities of a batch as a heat map, and return the figure and its axes.

    Args:
        operator: Of a batch small enough to be seen; its table is made.
        labels: What to write at each row, such as short renderings of findings; ``None``: only the
            numbers of the reports in the batch, since ids and texts can be private. Batches of more
            than 60 reports are drawn without them.
        axes: Where to draw; ``None``: a new figure.

    Raises:
        ImportError: If matplotlib is not installed; the message names the extra.
        ValueError: If there are not as many labels as rows.

    Example:
        >>> from selip_core.similarity import identical_positives
        >>> operator = identical_positives(["normal", "infarct", "normal"])
        >>> figure, axes = plot_batch(operator, ["normal", "infarct", "normal"])
        >>> axes.get_xlabel()
        'report of the batch'
    """
    rows, columns = operator.shape
    if labels is not None and len(labels) != rows:
        raise ValueError(f"labels must be one a row, {rows}, got {len(labels)}")
    if axes is None:
        axes = new_axes(inches=_heat_map_inches(rows, labels is not None))[1][0]
    values = operator.dense().cpu().numpy()
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, label="similarity", fraction=0.045, pad=0.02)
    axes.set_xlabel("report of the batch")
    _name_reports(axes, rows, labels)
    if max(rows, columns) <= _LARGEST_NUMBERED:
        axes.set_xticks(range(columns))
        _write_values(axes, values)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes.figure, axes


def _heat_map_inches(rows: int, has_labels: bool) -> tuple[float, float]:
    """Return a size at which cells and labels can be read."""
    side = min(max(0.36 * rows, 4.2), 7.0)
    return side + (2.6 if has_labels else 1.2), side


def _name_reports(axes: "Axes", rows: int, labels: Sequence[str] | None) -> None:
    """Write the labels of rows, where there is room for them, and numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if labels is None:
        axes.set_ylabel("report of the batch")
    if labels is not None and rows <= _LARGEST_LABELLED:
        names = [f"{label}  {number}" for number, label in enumerate(labels)]
        axes.set_yticks(range(rows), names, fontsize=9 if rows <= _LARGEST_NUMBERED else 7)
    elif rows <= _LARGEST_NUMBERED:
        axes.set_yticks(range(rows))


def _write_values(axes: "Axes", values: "numpy.ndarray") -> None:
    """Write each value into its cell; 0 and 1 are told by their colour."""
    for row, of_row in enumerate(values.tolist()):
        for column, value in enumerate(of_row):
            if 0.005 <= value < 0.995:
                text, colour = f"{value:.2f}".lstrip("0"), "black" if value > _DARK else "white"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def _axes(axes: "Axes | None") -> "Axes":
    return new_axes()[1][0] if axes is None else axes


def _against_size(sizes: Sequence[int], axes: "Axes | None") -> "Axes":
    """Return axes whose abscissa is the batch size, a tick a size."""
    axes = _axes(axes)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("reports in a batch")
    _quieten(axes)
    return axes


def _quieten(axes: "Axes") -> None:
    """Leave lines for the eye to follow, and no box."""
    axes.grid(axis="y", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_RULE)
    axes.tick_params(length=0, which="both")
