"""What is shown of ``benchmarks/results/similarity.json``: tables, bars that are met or missed."""

from collections.abc import Sequence
from typing import Any

Rows = Sequence[Sequence[str]]

GIB = 2**30
NOT_MEASURED = "not measured"


def part(result: dict[str, Any], name: str) -> Any:
    """Return what was measured of one part."""
    return result["parts"][name]["result"]


def batch_rows(result: dict[str, Any]) -> Rows:
    """Return milliseconds of batches, and how many times faster than both double loops."""
    rows = part(result, "batch")
    names = list(rows[0]["seconds"])
    header = ["corpus", "reports", "distinct findings", "loop", "tuned loop", "quoted", *names]
    return [header, *(batch_row(row, names) for row in rows)]


def batch_row(row: dict[str, Any], names: Sequence[str]) -> Sequence[str]:
    """Return one row of batches."""
    plain, tuned = row["seconds_of_plain_loop"], row["seconds_of_loop"]
    seconds = [row["seconds"][name] for name in names]
    return [
        row["corpus"],
        str(row["reports"]),
        str(row["distinct_findings"]),
        milliseconds(plain),
        milliseconds(tuned),
        milliseconds(row["quoted_seconds"]),
        *(
            f"{milliseconds(found)} ({plain / found:.0f}×, {tuned / found:.0f}×)"
            for found in seconds
        ),
    ]


def fit_rows(result: dict[str, Any]) -> Rows:
    """Return seconds and memory of fits, and milliseconds of what is taken out of them."""
    header = [
        "similarity", "reports", "fit", "largest memory", "before the fit",
        "batch", "select", "its first product", "batch by ids and product",
    ]  # fmt: skip
    rows = [
        [
            row["similarity"],
            f"{row['reports']:,}",
            f"{row['seconds']:.1f} s",
            gibibytes(row["peak_bytes"]),
            gibibytes(row["peak_bytes_before"]),
            str(row["batch"]),
            milliseconds(row["seconds_of_select"]),
            milliseconds(row["seconds_of_first_product"]),
            milliseconds(row["seconds_of_batch_and_product"]),
        ]
        for row in part(result, "fit")["rows"]
    ]
    return [header, *rows]


def product_rows(result: dict[str, Any]) -> Rows:
    """Return time and size of the factored and the dense product."""
    found = part(result, "product")
    ratios = found["dense_seconds"] / found["seconds"], found["dense_bytes"] / found["bytes"]
    mebi = [f"{found[name] / 2**20:.1f} MiB" for name in ("bytes", "dense_bytes")]
    times = [milliseconds(found[name]) for name in ("seconds", "dense_seconds")]
    return [
        [f"{found['reports']} reports, {found['distinct_findings']} findings", "product", "size"],
        ["factored", times[0], mebi[0]],
        ["dense", times[1], mebi[1]],
        ["ratio", *(f"{ratio:.0f}×" for ratio in ratios)],
    ]


def bar_rows(result: dict[str, Any]) -> Rows:
    """Return every bar, what was measured, and whether it is met."""
    quick = any(found["quick"] for found in result["parts"].values())
    return [
        ["what", "bar", "measured in a quick run of small sizes" if quick else "measured", "met"],
        *batch_bars(part(result, "batch")),
        *fit_bars(part(result, "fit")["rows"]),
        *product_bars(part(result, "product")),
    ]


def batch_bars(rows: Sequence[dict[str, Any]]) -> Rows:
    """Return the bars of batches of the long-tailed corpus, and the ratios to the tuned loop."""
    found = []
    for reports, least in ((1024, 300), (64, 50)):
        for name in ("paper", "default"):
            what = f"{name}: operator of {reports} and product"
            plain = ratio_of(rows, reports, name, "seconds_of_plain_loop")
            tuned = ratio_of(rows, reports, name, "seconds_of_loop")
            found.append(bar(what, "times the loop", least, plain))
            if tuned is not None:
                found.append([what, "none: times the tuned loop", shown(tuned), ""])
    return found


def ratio_of(rows: Sequence[dict[str, Any]], reports: int, name: str, loop: str) -> float | None:
    """Return how many times faster than a loop, or None where it was not measured."""
    for row in rows:
        if row["corpus"] == "long tail" and row["reports"] == reports:
            return float(row[loop] / row["seconds"][name])
    return None


def fit_bars(rows: Sequence[dict[str, Any]]) -> Rows:
    """Return the bars of fits, for whichever similarity takes more."""
    bounds = (
        (100_000, "seconds", "s", 60, 1),
        (100_000, "peak_bytes", "GiB", 2, GIB),
        (1_000_000, "peak_bytes", "GiB", 8, GIB),
        (1_000_000, "seconds_of_select", "ms to select 4096", 100, 1e-3),
    )
    found = []
    for reports, name, unit, most, scale in bounds:
        values = [row[name] / scale for row in rows if row["reports"] == reports]
        what = f"fit of {reports:,} reports"
        found.append(bar(what, unit, most, max(values, default=None), at_most=True))
    return found


def product_bars(found: dict[str, Any]) -> Rows:
    """Return the bars of the factored product; they are for 16384 reports."""
    measured = found["reports"] == 16_384
    faster = found["dense_seconds"] / found["seconds"] if measured else None
    smaller = found["dense_bytes"] / found["bytes"] if measured else None
    what = "factored product of 16384 reports"
    return [bar(what, "times faster", 10, faster), bar(what, "times smaller", 10, smaller)]


def bar(
    what: str, unit: str, bound: float, value: float | None, at_most: bool = False
) -> Sequence[str]:
    """Return one row: the bound, the value, and the verdict."""
    asked = f"{'at most' if at_most else 'at least'} {bound} {unit}"
    if value is None:
        return [what, asked, NOT_MEASURED, ""]
    margin = bound / value if at_most else value / bound
    verdict = f"yes, by {margin:.1f}×" if margin >= 1 else f"no: {margin:.2f} of it"
    return [what, asked, shown(value), verdict]


def shown(value: float) -> str:
    """Return a number with three figures, or whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, with three figures."""
    value = seconds * 1e3
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def gibibytes(count: float) -> str:
    """Return a size in GiB."""
    return f"{count / GIB:.2f} GiB"
