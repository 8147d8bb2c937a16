"""Learning rates: which parameter has which, and how they change over the steps."""

from typing import Any

from torch import nn

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
    """Optimiser groups: text parameters at one rate, all others at the other.

    Vectors and scalars (norms, biases, the logit scale) have no weight decay. Each group keeps its
    peak rate under ``"peak"``; parameters without gradient are left out.
    """
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_text, decays = name.startswith("text_encoder."), parameter.ndim > 1
        rate = config.learning_rate_text if is_text else config.learning_rate_image
        group = groups.setdefault(
            (is_text, decays),
            {
                "params": [],
                "lr": rate,
                "peak": rate,
                "weight_decay": config.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())
