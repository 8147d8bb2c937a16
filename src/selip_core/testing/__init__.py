"""For those who write a loss or a back end of their own: what to hold it to, and on what."""

from selip_core.testing.backend_report import BackendCheck, BackendReport
from selip_core.testing.check_backends import check_backends
from selip_core.testing.features import converged_features, random_features, random_similarities
from selip_core.testing.oracle import oracle, oracle_logsumexps, oracle_loss, textbook_loss
from selip_core.testing.shapes import Shape, shapes
from selip_core.testing.tolerance import QuantityError, assert_as_exact_as_dense, compare_errors
from selip_core.testing.value_and_gradients import ValueAndGradients, value_and_gradients

__all__ = [
    "BackendCheck",
    "BackendReport",
    "QuantityError",
    "Shape",
    "ValueAndGradients",
    "assert_as_exact_as_dense",
    "check_backends",
    "compare_errors",
    "converged_features",
    "oracle",
    "oracle_logsumexps",
    "oracle_loss",
    "random_features",
    "random_similarities",
    "shapes",
    "textbook_loss",
    "value_and_gradients",
]
