import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from selip_core.findings import Finding, Report
from selip_core.similarity import (
    Dense,
    ExpCosine,
    Factored,
    Identity,
    LowRank,
    ScaledSum,
    SyntaxSimilarity,
    exact,
)
from selip_core.similarity.operators import RowBlocks, Sparse


def reports_of_all_kinds():
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


BATCHES = {
    "batch_best": {},
    "batch_mean": {"aggregation": "mean", "gamma": 1.0},
    "batch_top_k": {"gamma": 2.0, "top_k": 2},
    "batch_own_floor": {"gamma": 1.0, "own_floor": 0.6, "normal": "paper"},
}
OPERATORS = [
    "dense",
    "low_rank",
    "exp_cosine",
    "identity",
    "sparse",
    "factored",
    "row_blocks",
    "scaled_sum",
    *BATCHES,
]


def make_operator(name, dtype, rows=7, columns=5, seed=0):
    """One operator of each kind, not symmetric, with columns that are equal reports."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    def integers(count, high):
        return torch.randint(high, (count,), generator=generator)

    def sparse(n, m):
        """Rows of 0 to 3 entries, some at one place."""
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), integers(n, 4).cumsum(0)])
        entries = int(offsets[-1])
        return Sparse(offsets, integers(entries, m), random(entries), m)

    if name in BATCHES:
        similarity = SyntaxSimilarity(
            0.5 * exact("site") + 0.5 * exact("signal"), **BATCHES[name]
        ).fit(reports_of_all_kinds())
        return similarity.batch(integers(rows, 10), integers(columns, 10), dtype=dtype)
    same = Identity(integers(rows, 4), integers(columns, 4), random(rows))
    low_rank = LowRank(random(rows, 3), random(columns, 3))
    factored = Factored(sparse(rows, 4), Dense(random(4, 3)), sparse(columns, 3))
    positions = integers(rows, 4), integers(columns, 4)
    operators = {
        "dense": Dense(random(rows, columns)),
        "low_rank": low_rank,
        "exp_cosine": ExpCosine(random(rows, 3) - 0.5, random(columns, 3) - 0.5, 0.2),
        "identity": same,
        "sparse": sparse(rows, columns),
        "factored": factored,
        "row_blocks": RowBlocks(Table(random(4, 4)), *positions, dtype),
        "scaled_sum": ScaledSum((0.3, 0.5, 0.2), (factored, low_rank, same)),
    }
    return operators[name]


class Table:
    """A source of blocks."""

    def __init__(self, values):
        self.values = values
        self.nbytes = values.nbytes

    def block(self, rows, columns, dtype):
        return self.values[rows[:, None], columns[None, :]].to(dtype)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


@pytest.fixture(params=OPERATORS)
def operator_name(request):
    return request.param


@pytest.fixture
def operator(operator_name, dtype, device):
    """One operator of each kind, 7 x 5."""
    return make_operator(operator_name, dtype).to(device)


@pytest.fixture
def any_operator():
    """Makes an operator of a kind, dtype, shape and seed."""
    return make_operator


@pytest.fixture(name="reports")
def reports_fixture():
    return reports_of_all_kinds()


@pytest.fixture
def fitted(reports):
    return SyntaxSimilarity(0.5 * exact("site") + 0.5 * exact("signal")).fit(reports)


@pytest.fixture(scope="session")
def double_loop():
    """The paper's similarity as plain loops; the benchmark measures the same file."""
    path = Path(__file__).with_name("double_loop.py")
    spec = importlib.util.spec_from_file_location("double_loop", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
