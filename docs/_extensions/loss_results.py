"""Tables of the loss for the directive ``benchmark-results``, bars that are met or missed."""

from collections.abc import Sequence
from typing import Any

from similarity_results import GIB, Rows, bar, milliseconds, part

MIB = 2**20
NOT_RUN = "not yet run"
MOST_SHARE = 10  # percent, of a target of at most this share of distinct findings or contents:
FEW_DISTINCT, MANY_ROWS = 0.2, 16_384


def communication_rows(result: dict[str, Any]) -> Rows:
    """What a rank sends and computes in one step."""
    header = ["ranks", "features", "loss", "exchanges", "sent by a rank", "products", "operations"]
    rows = [
        [
            ranks,
            dtype,
            name.replace("selip_core", "SimilarityCLIPLoss"),
            str(len(found["collectives"])),
            f"{found['bytes_sent'] / 1024:.0f} KiB",
            f"{found['products']:.0f}",
            f"{found['operations'] / 1e6:.0f} million",
        ]
        for ranks, measured in result["worlds"].items()
        for dtype, losses in measured.items()
        for name, found in losses.items()
    ]
    return [header, *rows]


def time_rows(result: dict[str, Any]) -> Rows:
    """Return seconds of a step, and what they are of those of the dense loss and of open_clip's."""
    found, formula = part(result, "scaling"), result["formula"]
    rows, missing = found["sizes"], found["not_to_be_had"]
    names = list(rows[0]["seconds"])

    def cells(seconds: dict[str, float]) -> list[str]:
        times = [milliseconds(seconds[name]) if name in seconds else "" for name in names]
        ratios = [
            f"{seconds['chunked'] / seconds[name]:.2f}" if name in seconds else ""
            for name in ("dense", formula)
        ]
        return [*times, *("not to be had" for _ in missing), *ratios]

    table = [
        [f"{row['rows']:,}", f"{row['width']:,}", row["dtype"], *cells(row["seconds"])]
        for row in rows
    ]
    return [
        ["rows", "columns", "type", *names, *missing, "chunked : dense", f"chunked : {formula}"],
        *table,
    ]


def memory_rows(result: dict[str, Any]) -> Rows:
    """Return what a step adds to the memory of a process."""
    header = ["rows", "columns", "type", "loss", "one step adds", "gradients among it", "largest"]
    table = [
        [
            f"{row['rows']:,}",
            f"{row['width']:,}",
            row["dtype"],
            name,
            mebibytes(found["step_bytes"]),
            mebibytes(found["gradient_bytes"]),
            mebibytes(found["peak_bytes"]),
        ]
        for row in part(result, "scaling")["sizes"]
        for name, found in row["memory"].items()
    ]
    return [header, *table]


def target_rows(result: dict[str, Any]) -> Rows:
    """Return what a target adds to plain CLIP."""
    return rows_of_targets(part(result, "targets"))


def rows_of_targets(measured: Sequence[dict[str, Any]]) -> Rows:
    """Return seconds of plain CLIP and with each target, and what the target adds."""
    header = ["target", "rows N", "width U", "U/N", "plain CLIP", "with the target", "share"]
    table = [
        [
            name,
            f"{row['rows']:,}",
            f"{width:,}" if width else "",
            f"{width / row['rows']:.2f}" if width else "",
            milliseconds(row["shortest_seconds"]["none"]),
            milliseconds(row["shortest_seconds"][name]),
            f"{share_of_target(row, name):.1f} %",
        ]
        for row in measured
        for name, width in row["widths"].items()
    ]
    return [header, *table]


def share_of_target(row: dict[str, Any], name: str) -> float:
    """Return what the target adds, in percent of the time of plain CLIP."""
    return 100 * float(row["seconds"][name] / row["seconds"]["none"] - 1)


def step_rows(result: dict[str, Any]) -> Rows:
    """Return the share of the loss in a whole training step."""
    table = [
        [
            f"{row['rows']:,}",
            f"{row['chunk_rows']:,}" if row["chunk_rows"] else "all",
            milliseconds(row["seconds"]["step"]),
            milliseconds(row["seconds"]["loss"]),
            percent(row["seconds"]["loss"] / row["seconds"]["step"]),
        ]
        for row in part(result, "step")["rows"]
    ]
    return [["rows", "embedded at once", "step", "loss", "share of the loss"], *table]


def gpu_rows(result: dict[str, Any]) -> Rows:
    """Return times, memory and shares of the product's rate; one row if it was not run."""
    found = part(result, "gpu")
    header = ["loss", "step", "share of a product's rate", "most memory"]
    if "not_run" in found:
        return [header, [f"{NOT_RUN}: {found['not_run']}", "", "", ""]]
    table = [
        [
            row["loss"],
            milliseconds(row["seconds"]),
            f"{100 * row['share']:.0f} %",
            f"{row['peak_bytes'] / GIB:.2f} GiB",
        ]
        for row in found["losses"]
    ]
    most = found["most"]
    last = [f"triton, {most['rows']:,} rows", milliseconds(most["seconds"]), ""]
    return [header, *table, [*last, f"{most['peak_bytes'] / GIB:.2f} GiB"]]


def gpu_size_rows(result: dict[str, Any]) -> Rows:
    """Return times and memory of other sizes and types on a GPU."""
    found = part(result, "gpu")
    header = ["rows", "columns", "type", "loss", "step", "most memory"]
    if "not_run" in found:
        return [header, [f"{NOT_RUN}: {found['not_run']}", *[""] * 5]]
    return [header, *map(gpu_size_row, found["grid"])]


def gpu_size_row(row: dict[str, Any]) -> Sequence[str]:
    """Return one loss at one size."""
    step, memory = "memory does not do", ""
    if row["seconds"] is not None:
        step, memory = milliseconds(row["seconds"]), f"{row['peak_bytes'] / GIB:.2f} GiB"
    size = (f"{row['rows']:,}", f"{row['width']:,}", row["dtype"], row["loss"])
    return [*size, step, memory]


def gpu_target_rows(result: dict[str, Any]) -> Rows:
    """Return what a target adds on a GPU."""
    found = part(result, "gpu")
    if "not_run" in found:
        return [["target", "share"], [f"{NOT_RUN}: {found['not_run']}", ""]]
    return rows_of_targets(found["targets"])


def loss_bar_rows(result: dict[str, Any]) -> Rows:
    """Return every bar, what was measured, and whether it is met."""
    quick = any(found["quick"] for found in result["parts"].values())
    return [
        ["what", "bar", "measured in a quick run of small sizes" if quick else "measured", "met"],
        *time_bars(result),
        memory_bar(usual_sizes(result)),
        *target_bars(part(result, "targets")[-1]),
        *gpu_bars(part(result, "gpu"), result["formula"]),
    ]


def usual_sizes(result: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Return what was measured in float32 with the usual number of columns."""
    return [
        row
        for row in part(result, "scaling")["sizes"]
        if (row["width"], row["dtype"]) == (result["width"], "float32")
    ]


def time_bars(result: dict[str, Any]) -> Rows:
    """Return the bars of the time of 8192 rows."""
    found = {row["rows"]: row["seconds"] for row in usual_sizes(result)}.get(8192)
    what = "chunked, 8192 rows"
    rows = []
    for name, bound in (("dense", 1.25), (result["formula"], 1)):
        value = found["chunked"] / found[name] if found else None
        rows.append(bar(what, f"times the time of {name}", bound, value, at_most=True))
    return rows


def memory_bar(sizes: Sequence[dict[str, Any]]) -> Sequence[str]:
    """Return the bar of what a step of 8192 rows adds to the memory."""
    found = {row["rows"]: row["memory"] for row in sizes}.get(8192)
    value = found["chunked"]["step_bytes"] / found["dense"]["step_bytes"] if found else None
    return bar("chunked, 8192 rows", "of the memory of dense", 0.2, value, at_most=True)


def target_bars(row: dict[str, Any]) -> Rows:
    """Return the bar of what a target adds; it is for many rows and few distinct findings."""
    rows = []
    for name, width in row["widths"].items():
        asked = row["rows"] >= MANY_ROWS and width / row["rows"] <= FEW_DISTINCT
        what = f"target: {name}, U ≤ N/5, N ≥ {MANY_ROWS}"
        value = share_of_target(row, name) if asked else None
        rows.append(bar(what, "% over plain CLIP", MOST_SHARE, value, at_most=True))
    return rows


def gpu_bars(found: dict[str, Any], formula: str) -> Rows:
    """Return the bars of a GPU."""
    if "not_run" in found:
        asked = (
            ("triton, bfloat16, 32768 rows", "at least 50 % of the rate of a product"),
            ("triton, bfloat16, 32768 rows", f"at least 3 times as fast as {formula}, autocast"),
            ("triton, bfloat16, 32768 rows", "at least 1.5 times as fast as inf-cl"),
            ("triton, bfloat16, 1048576 rows", "at most 20 GiB"),
        )
        return [[what, bound, NOT_RUN, ""] for what, bound in asked]
    losses = {row["loss"]: row for row in found["losses"]}
    ours, what = losses["triton"], f"triton, {found['dtype']}, {found['rows']} rows"

    def faster(name: str) -> float | None:
        return losses[name]["seconds"] / ours["seconds"] if name in losses else None

    most = found["most"]
    largest = f"triton, {found['dtype']}, {most['rows']} rows"
    return [
        bar(what, "% of the rate of a product", 50, 100 * ours["share"]),
        bar(what, f"times as fast as {formula}, autocast", 3, faster(formula)),
        bar(what, "times as fast as inf-cl", 1.5, faster("inf-cl")),
        bar(largest, "GiB", 20, most["peak_bytes"] / GIB, at_most=True),
    ]


def mebibytes(count: float) -> str:
    """Return a size in MiB."""
    return f"{count / MIB:.0f} MiB"


def precision_rows(result: dict[str, Any]) -> Rows:
    """Return the errors of gradients in percent of their norm."""
    ways = list(result["results"][0]["errors"])
    table = [
        [row["loss"], row["features"], row["dtype"], *(percent(row["errors"][way]) for way in ways)]
        for row in result["results"]
    ]
    return [["loss", "features", "precision", *ways], *table]


def percent(share: float) -> str:
    """Return a share in percent, with two figures; whole percents from 10 on."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 else f"{value:#.2g} %"


def roofline_rows(result: dict[str, Any]) -> Rows:
    """Return rates of every loss and size beside what the roof allows."""
    header = [
        "device",
        "loss",
        "rows",
        "operations a byte",
        "rate",
        "of a product's",
        "of the roof",
    ]
    return [header, *(row for found in result["devices"].values() for row in rates(found))]


def rates(found: dict[str, Any]) -> Rows:
    """Return the rows of one device; what is by formula, not counted, has a star."""
    peak, flow = found["operations_per_second"], found["bytes_per_second"]
    rows = []
    for point in found["points"]:
        intensity, rate = point_of(point)
        rows.append(
            [
                place_of(found),
                point["loss"],
                f"{point['rows']:,}",
                f"{intensity:.0f}{'*' if point['by_formula'] else ''}",
                f"{rate / 1e9:,.0f} · 10⁹/s",
                percent(rate / peak),
                percent(rate / min(peak, flow * intensity)),
            ]
        )
    return rows


def place_of(found: dict[str, Any]) -> str:
    """Return what was measured on, in which type, and whether in earnest."""
    quick = ", quick run of small sizes" if found["quick"] else ""
    return f"{found['device']}, {found['dtype']}{quick}"


def point_of(point: dict[str, Any]) -> tuple[float, float]:
    """Return operations a byte, and operations a second."""
    return point["operations"] / point["bytes"], point["operations"] / point["seconds"]


def profile_rows(result: dict[str, Any]) -> Rows:
    """Return shares of the time by kind of operation, of every device and loss."""
    profiles = [
        (place_of(found), profile)
        for found in result["devices"].values()
        for profile in found["profiles"]
    ]
    kinds = dict.fromkeys(kind for _, profile in profiles for kind in sorted(profile["shares"]))
    table = [
        [device, profile["loss"], f"{profile['rows']:,}"]
        + [percent(profile["shares"].get(kind, 0)) for kind in kinds]
        for device, profile in profiles
    ]
    return [["device", "loss", "rows", *kinds], *table]
