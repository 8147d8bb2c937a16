"""Learning rates: which parameter has which, and how they change over the steps."""

from typing import Any

from torch import nn

from selip_core import encoders
from selip_core.recipes.config import OptimizerConfig


def learning_rate_factor(step: int, steps: int, warmup: float, power: float) -> float:
    """Factor of the peak learning rate at a step counted from 0, in [0, 1].

    With ``w = warmup * steps``, rising linearly and then falling as a polynomial::

        (step + 1) / w                          while step < w
        (1 - (step - w) / (steps - w)) ** power  after it

    Example:
        >>> [learning_rate_factor(step, 10, 0.2, 1.0) for step in (0, 1, 2, 6)]
        [0.5, 1.0, 1.0, 0.5]
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return float(max(0.0, 1 - (step - rising) / max(1, steps - rising)) ** power)


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Optimiser groups: text parameters at one rate, the others at the other, by stage if asked.

    Which parameters have weight decay, :func:`selip_core.encoders.parameter_groups` decides. Each
    group keeps its peak rate under ``"peak"``; parameters without gradient are left out.
    """
    groups = []
    for group in encoders.parameter_groups(model, 1.0, config.weight_decay, config.layer_decay):
        named = list(zip(group["names"], group["params"], strict=True))
        for is_text in (False, True):
            own = [each for name, each in named if name.startswith("text_encoder.") is is_text]
            rate = config.learning_rate_text if is_text else config.learning_rate_image
            if own:
                peak = group["lr"] * rate
                decay = group["weight_decay"]
                groups.append({"params": own, "lr": peak, "peak": peak, "weight_decay": decay})
    return groups
