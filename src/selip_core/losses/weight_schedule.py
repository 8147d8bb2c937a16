"""How a weight of the loss changes over training."""

from typing import Literal, TypeAlias, get_args

WeightSchedule: TypeAlias = Literal["constant", "falling", "rising"]
"""How a weight changes: not at all, from its peak towards 0, or from 0 to its peak."""


def scheduled_weight(peak: float, step: int, steps: int, schedule: WeightSchedule) -> float:
    """Return a weight of the loss, such as ``similarity_weight``, at a step counted from 0.

    Of ``steps`` in all, linearly::

        peak * (1 - step / steps)       "falling"
        peak * (step + 1) / steps       "rising"

    so that it is above 0 at every step.

    Raises:
        ValueError: If the step is not one of ``steps``, or the schedule is unknown.

    Example:
        >>> from selip_core import SimilarityCLIPLoss
        >>> loss_fn, steps = SimilarityCLIPLoss(), 4
        >>> for step in range(steps):
        ...     loss_fn.similarity_weight = scheduled_weight(1.0, step, steps, "falling")
        ...     print(loss_fn.similarity_weight)
        1.0
        0.75
        0.5
        0.25
    """
    if not 0 <= step < steps:
        raise ValueError(f"step must be from 0 to steps - 1, got step {step} of {steps}")
    if schedule == "constant":
        return peak
    if schedule == "falling":
        return peak * (1 - step / steps)
    if schedule == "rising":
        return peak * (step + 1) / steps
    raise ValueError(f"schedule must be one of {get_args(WeightSchedule)}, got {schedule!r}")
