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
from selip_core.similarity.operators import RowBlocks, Sparse

ROWS, COLUMNS = 7, 5


def make_operator(name, dtype):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    def integers(count, high):
        return torch.randint(high, (count,), generator=generator)

    def sparse(rows, columns):
        """Rows of 0 to 3 entries, some at one place."""
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), integers(rows, 4).cumsum(0)])
        entries = int(offsets[-1])
        return Sparse(offsets, integers(entries, columns), random(entries), columns)

    same = Identity(integers(ROWS, 4), integers(COLUMNS, 4), random(ROWS))
    low_rank = LowRank(random(ROWS, 3), random(COLUMNS, 3))
    factored = Factored(sparse(ROWS, 4), Dense(random(4, 3)), sparse(COLUMNS, 3))
    operators = {
        "dense": Dense(random(ROWS, COLUMNS)),
        "low_rank": low_rank,
        "identity": same,
        "sparse": sparse(ROWS, COLUMNS),
        "factored": factored,
        "row_blocks": RowBlocks(
            Table(random(4, 4)), integers(ROWS, 4), integers(COLUMNS, 4), dtype
        ),
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


OPERATORS = ["dense", "low_rank", "identity", "sparse", "factored", "row_blocks", "scaled_sum"]


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


@pytest.fixture(params=OPERATORS)
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
