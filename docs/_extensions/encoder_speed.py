"""Tables of ``benchmarks/results/encoders.json`` for the directive ``benchmark-results``."""

from collections.abc import Sequence
from typing import Any

from similarity_results import Rows, gibibytes, milliseconds, part

MOST_OVERHEAD = 3  # percent
NOT_RUN = "not yet run"


def encoder(result: dict[str, Any], name: str) -> str:
    """Return the head of the first column, which tells if a part is from a quick run."""
    return "encoder (quick run)" if result["parts"][name]["quick"] else "encoder"


def throughput_rows(result: dict[str, Any]) -> Rows:
    """Return what a step takes, encoder by size; what was skipped, with the reason."""
    return [
        [
            encoder(result, "throughput"),
            "parameters",
            "volume",
            "volumes/s",
            "one step",
            "most memory",
        ],
        *(row_of(row) for row in part(result, "throughput")["rows"]),
    ]


def row_of(row: dict[str, Any]) -> Sequence[str]:
    """Return the cells of one case."""
    size = "x".join(map(str, row["size"]))
    if "skipped" in row:
        return [row["encoder"], "", size, f"skipped: {row['skipped']}", "", ""]
    return [
        row["encoder"],
        f"{row['parameters'] / 1e6:.1f} M",
        size,
        f"{row['batch'] / row['seconds']:.3g}",
        milliseconds(row["seconds"]),
        gibibytes(row["peak_bytes"]),
    ]


def overhead_rows(result: dict[str, Any]) -> Rows:
    """Return the bar of the wrapper, for one encoder a family."""
    header = [
        encoder(result, "overhead"),
        "bar",
        "over the bare network",
        "met",
        "95 % interval",
        "pairs",
    ]
    return [header, *(overhead_row(row) for row in part(result, "overhead"))]


def overhead_row(row: dict[str, Any]) -> Sequence[str]:
    """Return the cells of one encoder."""
    name = row["encoder"]
    if "skipped" in row:
        return [name, "", f"skipped: {row['skipped']}", "", "", ""]
    ratio, low, high = row["ratio"], row["low"], row["high"]
    met = "yes" if ratio <= 1 + MOST_OVERHEAD / 100 else "no"
    bound = f"at most {MOST_OVERHEAD} %"
    interval = f"{100 * (low - 1):+.1f} to {100 * (high - 1):+.1f} %"
    return [name, bound, f"{100 * (ratio - 1):+.1f} %", met, interval, str(row["pairs"])]


def layout_rows(result: dict[str, Any]) -> Rows:
    """Return what channels-last takes of the time of the plain layout."""
    header = [encoder(result, "layout"), "plain", "channels-last", "ratio", "95 % interval"]
    return [header, *(layout_row(row) for row in part(result, "layout"))]


def layout_row(row: dict[str, Any]) -> Sequence[str]:
    """Return the cells of one encoder."""
    if "skipped" in row:
        return [row["encoder"], f"skipped: {row['skipped']}", "", "", ""]
    return [
        row["encoder"],
        milliseconds(row["seconds"]["plain"]),
        milliseconds(row["seconds"]["channels_last"]),
        f"{row['ratio']:.2f}",
        f"{row['low']:.2f} to {row['high']:.2f}",
    ]


def gpu_rows(result: dict[str, Any]) -> Rows:
    """Return what a step takes on a GPU, by variant; one row if it was not run."""
    header = ["encoder", "volume", "variant", "batch", "volumes/s", "one step", "most memory"]
    found = part(result, "gpu")
    if "not_run" in found:
        return [header, [f"{NOT_RUN}: {found['not_run']}", *[""] * 6]]
    table = []
    for row in found["rows"]:
        name, _, size, speed, step, memory = row_of(row)
        table.append([name, size, row["variant"], str(row.get("batch", "")), speed, step, memory])
    return [header, *table]
