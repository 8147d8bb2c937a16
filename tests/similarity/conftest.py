import pytest
import torch

from selip_core.findings import Finding, Report
from selip_core.similarity import (
    Dense,
    Factored,
    Identity,
    LowRank,
    ScaledSum,
    SyntaxSimilarity,
    exact,
)
from selip_core.similarity.operators import sparse_matrix

ROWS, COLUMNS = 7, 5


def make_operator(name, dtype):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    def integers(count, high):
        return torch.randint(high, (count,), generator=generator)

    def weights(reports, findings):
        places = torch.arange(reports).repeat(2)
        return sparse_matrix(
            places, integers(2 * reports, findings), random(2 * reports), (reports, findings)
        )

    same = Identity(integers(ROWS, 4), integers(COLUMNS, 4), dtype)
    if name == "dense":
        return Dense(random(ROWS, COLUMNS))
    if name == "low_rank":
        return LowRank(random(ROWS, 3), random(COLUMNS, 3))
    if name == "identity":
        return same
    factored = Factored(weights(ROWS, 4), random(4, 3), weights(COLUMNS, 3), same, random(ROWS))
    if name == "factored":
        return factored
    return ScaledSum((0.3, 0.7), (factored, LowRank(random(ROWS, 3), random(COLUMNS, 3))))


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


@pytest.fixture(params=["dense", "low_rank", "identity", "factored", "scaled_sum"])
def operator(request, dtype, device):
    """One operator of each kind, 7 x 5, not symmetric, with columns that are equal reports."""
    return make_operator(request.param, dtype).to(device)


@pytest.fixture
def reports():
    """Duplicates, normal and unknown reports, repeated and negated findings, missing fields."""
    return [
        Report(id="a", findings=[Finding(site="pons", signal="high"), Finding(site="insula")]),
        Report(id="b", findings=[Finding(site="insula"), Finding(site="pons", signal="high")]),
        Report(id="c", findings=[Finding(site="pons", signal="low", laterality="left")]),
        Report(id="d", findings=[Finding(site="pons", signal="high", negated=True)]),
        Report(id="e", findings=[Finding(site="pons"), Finding(site="pons")]),
        Report(id="f", findings=[Finding()]),
        Report(id="normal 1", normal=True),
        Report(id="normal 2", normal=True, findings=[Finding(site="pons", negated=True)]),
        Report(id="unknown 1"),
        Report(id="unknown 2"),
    ]


@pytest.fixture
def fitted(reports):
    return SyntaxSimilarity(0.5 * exact("site") + 0.5 * exact("signal")).fit(reports)
