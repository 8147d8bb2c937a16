import re

import pytest
import torch

from selip_core.losses import similarity_clip_loss
from selip_core.testing import (
    QuantityError,
    ValueAndGradients,
    assert_as_exact_as_dense,
    compare_errors,
    oracle,
    random_features,
    random_similarities,
    shapes,
    textbook_loss,
    value_and_gradients,
)

EXACT = ValueAndGradients(
    torch.tensor(2.0), torch.ones(2, 2), torch.ones(2, 2), torch.tensor(4.0)
)  # fmt: skip


def off(by: float, *names: str) -> ValueAndGradients:
    return EXACT._replace(**{name: getattr(EXACT, name) * (1 + by) for name in names})


def test_allowed_is_a_multiple_of_dense_and_a_floor() -> None:
    error = QuantityError("loss", error=0.5, dense_error=0.125, factor=2, floor=0.25)
    assert (error.allowed, error.passes) == (0.5, True)
    assert not error._replace(error=0.51).passes
    assert not error._replace(error=float("nan")).passes


@pytest.mark.parametrize(("converged", "factor"), [(False, 2), (True, 4)])
def test_twice_on_random_features_four_times_on_converged_ones(
    converged: bool, factor: int
) -> None:
    dense = off(0.01, *ValueAndGradients._fields)
    for by, passes in ((0.99 * factor, True), (1.01 * factor, False)):
        actual = off(0.01 * by, *ValueAndGradients._fields)
        errors = compare_errors(actual, dense, EXACT, converged=converged)
        assert [error.passes for error in errors] == [passes] * 4


def test_floor_is_of_the_precision_for_scalars_alone() -> None:
    actual = off(0.003, "loss", "image_features", "logit_scale")
    errors = compare_errors(actual, EXACT, EXACT, precision=torch.bfloat16)
    assert [error.passes for error in errors] == [True, False, True, True]
    errors = compare_errors(actual, EXACT, EXACT)
    assert [error.passes for error in errors] == [False, False, True, False]


def test_scale_at_convergence_is_as_exact_as_the_gradients() -> None:
    actual, dense = off(0.03, "logit_scale"), off(0.01, "text_features")
    assert_as_exact_as_dense(actual, dense, EXACT, converged=True)
    with pytest.raises(AssertionError, match="gradient in logit_scale"):
        assert_as_exact_as_dense(actual, dense, EXACT)


def test_message_has_a_line_for_everything_that_fails() -> None:
    with pytest.raises(AssertionError) as raised:
        assert_as_exact_as_dense(off(0.1, "loss", "text_features"), EXACT, EXACT)
    first, *lines = str(raised.value).splitlines()
    assert first == "less exact than it has to be"
    assert [line.partition(":")[0] for line in lines] == ["loss", "gradient in text_features"]
    assert re.search(r"error 1.0e-01 against float64, allowed 3.8e-06, which is 2 times", lines[1])


def test_no_gradient_at_all_is_compared_as_it_is() -> None:
    nothing = EXACT._replace(image_features=torch.zeros(2, 2))
    errors = compare_errors(EXACT, nothing, nothing)
    assert errors[1].error == 2.0


@pytest.mark.parametrize("backend", ["chunked", "dense"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", shapes(paired=True), ids=str)
def test_back_ends_pass(shape: tuple[int, int, int], dtype: torch.dtype, backend: str) -> None:
    rows, _, width = shape
    given = [*(x.to(dtype) for x in random_features(rows, rows, width)), 14.0]
    target = random_similarities(rows)
    actual = value_and_gradients(similarity_clip_loss, *given, target=target, backend=backend)
    dense = value_and_gradients(textbook_loss, *given, target=target)
    assert_as_exact_as_dense(actual, dense, oracle(*given, target=target))
