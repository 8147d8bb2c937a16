"""How exact is exact enough: as exact as the dense computation in the same precision, nearly."""

from typing import NamedTuple

import torch
from torch import Tensor

from selip_core.losses.precision import accumulation_dtype
from selip_core.testing.value_and_gradients import ValueAndGradients

QUANTITIES = ValueAndGradients._fields
ON_RANDOM_FEATURES = 2
ON_CONVERGED_FEATURES = 4
ROUNDINGS = 32
"""Of sums, that are no fault: 4e-6 in float32. At convergence a loss of 1 is left of logits that
are 15 and more."""


class QuantityError(NamedTuple):
    """How far from float64 one quantity is.

    Attributes:
        quantity: ``"loss"``, or whose gradient it is.
        error: Norm of the difference to float64, by the norm in float64; where that is 0, the norm
            of the difference.
        dense_error: The same of the dense computation.
        factor: What the dense error is multiplied with.
        floor: What is added to that.
    """

    quantity: str
    error: float
    dense_error: float
    factor: float
    floor: float

    @property
    def allowed(self) -> float:
        """The largest error that passes."""
        return self.factor * self.dense_error + self.floor

    @property
    def passes(self) -> bool:
        """Whether the error is allowed; no NaN is."""
        return self.error <= self.allowed

    def __str__(self) -> str:
        what = "loss" if self.quantity == "loss" else f"gradient in {self.quantity}"
        return (
            f"{what}: error {self.error:.1e} against float64, allowed {self.allowed:.1e}, which is "
            f"{self.factor:g} times the {self.dense_error:.1e} of the dense computation plus "
            f"{self.floor:.1e}"
        )


def compare_errors(
    actual: ValueAndGradients,
    dense: ValueAndGradients,
    exact: ValueAndGradients,
    *,
    converged: bool = False,
    precision: torch.dtype | None = None,
) -> list[QuantityError]:
    """Return the errors of the loss and of its three gradients beside those of the dense result.

    A fixed tolerance is too wide for one batch and too narrow for another. The rule here: against
    float64 the error may be twice that of the dense computation in the same precision on random
    features, and four times on converged ones. On top come

    - 32 roundings of the type that sums are in;
    - for the two scalars one rounding of ``precision``, as the dense error of a single number is
      small by chance now and then;
    - on converged features, for the gradient in the scale, the worst dense error of a gradient in
      place of its own.

    In float64 there is nothing more exact to compare with: the roundings are all that is left of
    the rule, and they fit random features alone.

    Args:
        actual: What is judged.
        dense: :func:`textbook_loss` of the same features, or what else is as good as it has to be.
        exact: :func:`oracle` of the same features, those that ``actual`` was given: rounding them
            is nobody's fault.
        converged: Whether features come from training, as of :func:`converged_features`.
        precision: The lowest type that is computed in; by default that of the features.

    Example:
        >>> from selip_core.losses import similarity_clip_loss
        >>> from selip_core.testing import (
        ...     oracle, random_features, textbook_loss, value_and_gradients
        ... )
        >>> given = [*(x.bfloat16() for x in random_features(40, 40, 16)), 10.0]
        >>> actual = value_and_gradients(similarity_clip_loss, *given)
        >>> dense = value_and_gradients(textbook_loss, *given)
        >>> [error.passes for error in compare_errors(actual, dense, oracle(*given))]
        [True, True, True, True]
    """
    features = actual.image_features.dtype
    factor = ON_CONVERGED_FEATURES if converged else ON_RANDOM_FEATURES
    of_sums = ROUNDINGS * torch.finfo(accumulation_dtype(features)).eps
    of_scalars = torch.finfo(precision or features).eps
    dense_errors = dict(zip(QUANTITIES, map(_relative_error, dense, exact), strict=True))
    if converged:
        # tau dtau = sum(I * dI), what is left of sums that cancel: no more exact than they are.
        gradients = (error for name, error in dense_errors.items() if name != "loss")
        dense_errors["logit_scale"] = max(gradients)
    return [
        QuantityError(
            name,
            _relative_error(value, reference),
            dense_errors[name],
            factor,
            of_sums + of_scalars if reference.ndim == 0 else of_sums,
        )
        for name, value, reference in zip(QUANTITIES, actual, exact, strict=True)
    ]


def assert_as_exact_as_dense(
    actual: ValueAndGradients,
    dense: ValueAndGradients,
    exact: ValueAndGradients,
    *,
    converged: bool = False,
    precision: torch.dtype | None = None,
) -> None:
    """Assert that loss and gradients pass the rule of :func:`compare_errors`.

    Raises:
        AssertionError: With a line for each quantity that fails.

    Example:
        >>> from selip_core.testing import oracle, random_features
        >>> exact = oracle(*random_features(40, 40, 16), 10.0)
        >>> wrong = exact._replace(logit_scale=1.01 * exact.logit_scale)
        >>> assert_as_exact_as_dense(wrong, exact, exact)
        Traceback (most recent call last):
        AssertionError: less exact than it has to be
        gradient in logit_scale: error 1.0e-02 against float64, allowed ...
    """
    errors = compare_errors(actual, dense, exact, converged=converged, precision=precision)
    failing = [str(error) for error in errors if not error.passes]
    if failing:
        raise AssertionError("\n".join(["less exact than it has to be", *failing]))


def _relative_error(actual: Tensor, exact: Tensor) -> float:
    exact = exact.double()
    magnitude = float(exact.norm())
    difference = float((actual.to(exact.device).double() - exact).norm())
    return difference / magnitude if magnitude else difference
