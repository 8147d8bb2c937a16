"""A backward of an autograd node that is itself not differentiable, and says so."""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


def first_derivative_only(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """Return the backward with an error in place of its own derivative.

    ``once_differentiable`` of torch would not do: it leaves the gradients without a graph where the
    incoming one has none, so that a gradient penalty would silently count as a constant.

    Args:
        backward: Takes a context with saved tensors, every differentiable input among them, and
            the incoming gradients.
    """

    @functools.wraps(backward)
    def refusing(ctx: Any, *incoming: Tensor) -> Gradients:
        with torch.no_grad():
            gradients = backward(ctx, *incoming)
        if not torch.is_grad_enabled():
            return gradients
        inputs = [value for value in (*ctx.saved_tensors, *incoming) if value is not None]
        return tuple(
            None if value is None else _Refused.apply(value, *inputs)  # type: ignore[no-untyped-call]
            for value in gradients
        )

    return refusing


def refuse(ctx: Any, *gradients: Tensor) -> NoReturn:
    """Raise a RuntimeError: the backward of what is a derivative already."""
    raise RuntimeError("no second derivative in this back end; use backend='dense' for one")


class _Refused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *inputs: Tensor) -> Tensor:
        return gradient.clone()

    backward = staticmethod(refuse)
