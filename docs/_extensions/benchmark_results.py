"""The directive ``benchmark-results``: tables made from the committed results of benchmarks."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import encoder_speed
from campaign_results import campaign_rows
from docutils import nodes
from docutils.parsers.rst import Directive
from encoder_results import pooling_rows
from evidence_results import TABLES as EVIDENCE_TABLES
from loss_results import (
    communication_rows,
    gpu_rows,
    gpu_size_rows,
    gpu_target_rows,
    loss_bar_rows,
    memory_rows,
    precision_rows,
    profile_rows,
    roofline_rows,
    step_rows,
    target_rows,
    time_rows,
)
from similarity_results import bar_rows, batch_rows, fit_rows, product_rows
from sphinx.application import Sphinx

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

Rows = Sequence[Sequence[str]]


def demo_rows(result: dict[str, Any]) -> Rows:
    """Seconds of each phase."""
    phases = [[phase, f"{seconds:.0f} s"] for phase, seconds in result["phase_seconds"].items()]
    whole = [
        ["All, with start and page", f"{result['seconds']:.0f} s"],
        ["Largest process", f"{result['largest_process_bytes'] / 2**30:.1f} GiB"],
    ]
    return [["phase", "measured"], *phases, *whole]


def import_rows(result: dict[str, Any]) -> Rows:
    """Seconds over ``import torch``."""
    extra = result["seconds_over_torch"]
    rows = [[name, f"{extra[name]:.2f} s"] for name in extra if name != "torch"]
    return [["imported", "over `import torch`"], *rows]


def seed_rows(result: dict[str, Any]) -> Rows:
    """Means over seeds, and paired differences from plain CLIP."""
    runs, gains = result["runs"], result["paired_differences_from_clip"]
    header = ["figure", "chance", *runs, *(f"{arm} - clip" for arm in gains)]
    names = list(next(iter(gains.values())))

    def mean(arm: str, name: str) -> str:
        return f"{statistics.fmean(run[name] for run in runs[arm]):.3f}"

    def gain(arm: str, name: str) -> str:
        found = gains[arm][name]
        return f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"

    rows = [
        [
            name.replace("_", " "),
            mean("clip", f"{name} chance"),
            *(mean(arm, name) for arm in runs),
            *(gain(arm, name) for arm in gains),
        ]
        for name in names
    ]
    return [header, *rows]


def single_seed_rows(result: dict[str, Any]) -> Rows:
    """R@1 from image to text of every seed."""
    runs = result["runs"]
    rows = [
        [str(seed), *(f"{runs[arm][place]['image_to_text R@1']:.3f}" for arm in runs)]
        for place, seed in enumerate(result["seeds"])
    ]
    return [["seed", *runs], *rows]


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], Rows]]] = {
    "campaigns": ("reliability", campaign_rows),
    "demo": ("demo", demo_rows),
    "encoders-gpu": ("encoders", encoder_speed.gpu_rows),
    "encoders-layout": ("encoders", encoder_speed.layout_rows),
    "encoders-overhead": ("encoders", encoder_speed.overhead_rows),
    "encoders-throughput": ("encoders", encoder_speed.throughput_rows),
    **{name: ("evidence", rows_of) for name, rows_of in EVIDENCE_TABLES.items()},
    "import-time": ("import_time", import_rows),
    "loss-bars": ("loss", loss_bar_rows),
    "loss-communication": ("loss_communication", communication_rows),
    "loss-gpu": ("loss", gpu_rows),
    "loss-gpu-sizes": ("loss", gpu_size_rows),
    "loss-gpu-targets": ("loss", gpu_target_rows),
    "loss-memory": ("loss", memory_rows),
    "loss-precision": ("loss_precision", precision_rows),
    "loss-profile": ("loss_roofline", profile_rows),
    "loss-roofline": ("loss_roofline", roofline_rows),
    "loss-step": ("loss", step_rows),
    "loss-target": ("loss", target_rows),
    "loss-time": ("loss", time_rows),
    "pooling": ("pooling", pooling_rows),
    "seeds": ("demo_seeds", seed_rows),
    "single-seeds": ("demo_seeds", single_seed_rows),
    "similarity-bars": ("similarity", bar_rows),
    "similarity-batch": ("similarity", batch_rows),
    "similarity-fit": ("similarity", fit_rows),
    "similarity-product": ("similarity", product_rows),
}


class BenchmarkResults(Directive):
    """Show a table, and when and on what it was measured."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table and its caption."""
        name, rows_of = TABLES[self.arguments[0]]
        path = RESULTS / f"{name}.json"
        self.state.document.settings.record_dependencies.add(str(path))
        result = json.loads(path.read_text(encoding="utf-8"))
        environment = ", ".join(f"{key} {value}" for key, value in environment_of(result).items())
        measured = nodes.paragraph("", "", nodes.emphasis("", f"{result['date']}: {environment}."))
        return [table(rows_of(result)), measured]


def environment_of(result: dict[str, Any]) -> dict[str, str]:
    """Return what was measured on; parts may have had numbers of threads of their own."""
    threads: dict[int, list[str]] = {}
    for name, part in result.get("parts", {}).items():
        if "threads" in part:
            threads.setdefault(part["threads"], []).append(name)
    environment: dict[str, str] = result["environment"]
    if len(threads) > 1:
        told = [f"{count} ({', '.join(names)})" for count, names in threads.items()]
        environment = {**environment, "Torch threads": ", ".join(told)}
    return environment


def table(rows: Rows) -> nodes.table:
    """Return a table whose first row is its header."""
    columns = len(rows[0])
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in range(columns)), cols=columns)
    group += nodes.thead("", table_row(rows[0]))
    group += nodes.tbody("", *(table_row(cells) for cells in rows[1:]))
    return nodes.table("", group)


def table_row(cells: Sequence[str]) -> nodes.row:
    """Return one row."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("benchmark-results", BenchmarkResults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
