"""Paired differences over seeds: intervals, effect sizes, and Holm's correction."""

import math
import statistics
from collections.abc import Mapping, Sequence

from selip_core._optional import require


def paired_t(differences: Sequence[float]) -> dict[str, float] | None:
    """Return mean, 95 % t-interval, p and effect size of paired differences; None below two.

    The effect size is the mean over the standard deviation (Cohen's d of paired samples).
    """
    if len(differences) < 2:
        return None
    stats = require("scipy.stats", "demo")
    mean, spread = statistics.fmean(differences), statistics.stdev(differences)
    if spread == 0:
        p = 1.0 if mean == 0 else 0.0
        effect = 0.0 if mean == 0 else math.copysign(math.inf, mean)
        return {"mean": mean, "low": mean, "high": mean, "p": p, "effect": effect}
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(0.95)
    return {
        "mean": mean,
        "low": float(interval.low),
        "high": float(interval.high),
        "p": float(test.pvalue),
        "effect": mean / spread,
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p-values: those below a level keep the family-wise error at it.

    Sorted, ``p_(i)`` of ``m`` becomes ``max_{j <= i} min(1, (m - j + 1) p_(j))``.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = largest
    return adjusted
