"""Tables of the benchmarks of encoders."""

import statistics
from collections.abc import Sequence
from typing import Any


def pooling_rows(result: dict[str, Any]) -> Sequence[Sequence[str]]:
    """Means over seeds of each pooling, and paired differences from the average."""
    groups = result["labels"]
    header = ["pooling", *groups, *(f"{group} - avg" for group in groups)]

    def gain(pooling: str, group: str) -> str:
        if pooling == "avg":
            return ""
        found = result["paired_differences_from_avg"][pooling][group]
        return f"{found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"

    rows = [
        [
            pooling,
            *(f"{statistics.fmean(values[group]):.3f}" for group in groups),
            *(gain(pooling, group) for group in groups),
        ]
        for pooling, values in result["area_under_curve"].items()
    ]
    return [header, *rows]
