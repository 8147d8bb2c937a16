"""The directive ``benchmark-plot``: figures drawn from the committed results of benchmarks."""

import json
from collections.abc import Callable
from typing import Any

from benchmark_results import RESULTS
from docutils import nodes
from docutils.parsers.rst import Directive
from evidence_figures import FIGURES as EVIDENCE_FIGURES
from loss_results import place_of, point_of, usual_sizes
from python_figure import svg
from similarity_results import GIB, part
from sphinx.application import Sphinx


def fit_figure(result: dict[str, Any]) -> Any:
    """Draw seconds and memory of fits over the number of reports."""
    figure, (time_axes, memory_axes) = new_figure(columns=2)
    found = part(result, "fit")
    for name, exponent in found["growth_exponent"].items():
        rows = [row for row in found["rows"] if row["similarity"] == name]
        reports = [row["reports"] for row in rows]
        label = f"{name}, growing as N to the {exponent:.2f}"
        time_axes.loglog(reports, [row["seconds"] for row in rows], "o-", label=label)
        memory_axes.loglog(reports, [row["peak_bytes"] / GIB for row in rows], "o-", label=name)
    time_axes.set(xlabel="reports", ylabel="seconds of the fit")
    memory_axes.set(xlabel="reports", ylabel="largest memory, GiB")
    time_axes.legend(frameon=False)
    return figure


def batch_figure(result: dict[str, Any]) -> Any:
    """Draw how many times faster than the double loop batches are."""
    rows = part(result, "batch")
    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    figure, every_axes = new_figure(columns=len(corpora))
    for corpus, axes in zip(corpora, every_axes, strict=True):
        chosen = [row for row in rows if row["corpus"] == corpus]
        sizes = [row["reports"] for row in chosen]
        for name in chosen[0]["seconds"]:
            ratios = [row["seconds_of_plain_loop"] / row["seconds"][name] for row in chosen]
            axes.loglog(sizes, ratios, "o-", label=name)
        axes.set(title=corpus, xlabel="reports", ylabel="times faster than the double loop")
        if corpus == "long tail":
            axes.loglog([64, 1024], [50, 300], "kx", label="bar")
        axes.set_xticks([64, 256, 1024], ["64", "256", "1024"])
        axes.minorticks_off()
    every_axes[0].legend(frameon=False)
    return figure


def precision_figure(result: dict[str, Any]) -> Any:
    """Draw the errors of gradients by the place where attraction and repulsion meet."""
    names = list(dict.fromkeys(row["loss"] for row in result["results"]))
    figure, every_axes = new_figure(columns=len(names))
    for name, axes in zip(names, every_axes, strict=True):
        rows = [row for row in result["results"] if row["loss"] == name]
        ways = list(rows[0]["errors"])
        width = 0.8 / len(ways)
        for place, way in enumerate(ways):
            left = [group + width * (place - (len(ways) - 1) / 2) for group in range(len(rows))]
            axes.bar(left, [row["errors"][way] for row in rows], width, label=way)
        labels = [f"{row['features']}\n{row['dtype']}" for row in rows]
        axes.set_xticks(range(len(rows)), labels, fontsize="small")
        axes.set(title=name, yscale="log", ylim=(1e-4, 10), ylabel="error of the gradients")
        axes.axhline(1, color="grey", linewidth=0.8, linestyle="dotted")
    every_axes[0].legend(frameon=False, loc="upper left", fontsize="small")
    return figure


def scaling_figure(result: dict[str, Any]) -> Any:
    """Draw seconds and memory of a step over the rows of the batch."""
    figure, (time_axes, memory_axes) = new_figure(columns=2)
    found = usual_sizes(result)
    for name in found[0]["seconds"]:
        timed = [row for row in found if name in row["seconds"]]
        seconds = [row["seconds"][name] for row in timed]
        time_axes.loglog([row["rows"] for row in timed], seconds, "o-", label=name)
        weighed = [row for row in found if name in row["memory"]]
        added = [row["memory"][name]["step_bytes"] / GIB for row in weighed]
        memory_axes.loglog([row["rows"] for row in weighed], added, "o-", label=name)
    time_axes.set(xlabel="rows", ylabel="seconds of a step")
    memory_axes.set(xlabel="rows", ylabel="memory that a step adds, GiB")
    time_axes.legend(frameon=False)
    return figure


def roofline_figure(result: dict[str, Any]) -> Any:
    """Draw the rates of the losses under what a product and the memory allow, a plot a device."""
    devices = list(result["devices"].values())
    figure, every_axes = new_figure(columns=max(2, len(devices)))
    for axes in every_axes[len(devices) :]:
        axes.set_axis_off()
    for found, axes in zip(devices, every_axes, strict=False):
        peak, flow = found["operations_per_second"], found["bytes_per_second"]
        ridge = peak / flow
        roof = [ridge / 10, ridge, 20 * ridge]
        axes.loglog(roof, [min(peak, flow * x) for x in roof], color="grey", linewidth=1)
        for name in dict.fromkeys(point["loss"] for point in found["points"]):
            points = [point_of(point) for point in found["points"] if point["loss"] == name]
            axes.loglog(*zip(*points, strict=True), "o-", label=name, markersize=4)
        axes.set(title=place_of(found), xlabel="operations a byte")
        axes.set_ylabel("operations a second")
    handles = every_axes[0].get_legend_handles_labels()
    every_axes[-1].legend(*handles, frameon=False, loc="center left")
    return figure


def new_figure(columns: int) -> Any:
    """Return an empty figure and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * columns, 3.6), layout="constrained")
    return figure, figure.subplots(1, columns)


FIGURES: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    **{name: ("evidence", *figure) for name, figure in EVIDENCE_FIGURES.items()},
    "similarity-fit": (
        "similarity",
        fit_figure,
        "Seconds and largest memory of a fit over the number of reports, both axes logarithmic.",
    ),
    "loss-precision": (
        "loss_precision",
        precision_figure,
        "Errors of the gradients in bfloat16 and float16, relative to the gradients, on a "
        "logarithmic axis, for random and for converged features, of four ways to add attraction "
        "and repulsion.",
    ),
    "loss-roofline": (
        "loss_roofline",
        roofline_figure,
        "Operations a second of a step of each loss over its operations a byte, both axes "
        "logarithmic, under the rate of a product and the bandwidth of memory, by device.",
    ),
    "loss-scaling": (
        "loss",
        scaling_figure,
        "Seconds of a step of each loss and the memory that it adds, over the rows of the batch, "
        "all axes logarithmic.",
    ),
    "similarity-batch": (
        "similarity",
        batch_figure,
        "How many times faster than the double loop the operator of a batch and one product are, "
        "over the number of reports, for each similarity and corpus.",
    ),
}


class BenchmarkPlot(Directive):
    """Show a figure."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the figure, drawn into the page."""
        name, draw, alt = FIGURES[self.arguments[0]]
        path = RESULTS / f"{name}.json"
        self.state.document.settings.record_dependencies.add(str(path))
        figure = draw(json.loads(path.read_text(encoding="utf-8")))
        return [nodes.raw("", svg(figure, alt), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("benchmark-plot", BenchmarkPlot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
