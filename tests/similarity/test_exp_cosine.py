import math
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import normalize

from selip_core.similarity import ExpCosine


def embeddings(count, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64)


def test_is_the_exponential_of_the_cosine_less_one():
    left, right = torch.tensor([[3.0, 0.0]]), torch.tensor([[5.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    expected = [1.0, math.exp((0.5**0.5 - 1) / 0.5), math.exp(-4)]
    torch.testing.assert_close(ExpCosine(left, right, 0.5).dense(), torch.tensor([expected]))


def test_rows_and_columns_are_softmaxes():
    left, right = embeddings(6), embeddings(4, seed=1)
    operator = ExpCosine(left, right, 0.1)
    dense = operator.dense()
    cosines = normalize(left) @ normalize(right).T
    rows = dense / operator.row_sums()[:, None]
    columns = dense / operator.column_sums()[None, :]
    torch.testing.assert_close(rows, (cosines / 0.1).softmax(1))
    torch.testing.assert_close(columns, (cosines / 0.1).softmax(0))


@pytest.mark.parametrize("temperature", [0.01, 1e-4])
def test_small_temperatures_are_finite_and_keep_own_pairs(temperature):
    left = embeddings(300, 384).float()
    operator = ExpCosine(left, left, temperature)
    dense, product = operator.dense(), operator.matmul(torch.ones(300, 2))
    assert bool(dense.isfinite().all())
    assert bool(product.isfinite().all())
    assert float(dense.max()) <= 1
    rounding = 1e-6 / temperature
    torch.testing.assert_close(dense.diagonal(), torch.ones(300), atol=rounding, rtol=0)
    torch.testing.assert_close(product, dense @ torch.ones(300, 2))


def test_far_columns_alone_underflow_to_zero():
    left = torch.tensor([[1.0, 0.0]])
    operator = ExpCosine(left, -left, 0.01)
    assert operator.matmul(torch.ones(1, 1)).item() == 0
    assert operator.row_sums().item() == 0


def test_tiles_add_up(monkeypatch):
    monkeypatch.setattr("selip_core.similarity.operators.exp_cosine._TILE_VALUES", 10)
    operator = ExpCosine(embeddings(7), embeddings(5, seed=1), 0.3)
    x, y = embeddings(5, 2), embeddings(7, 2)
    torch.testing.assert_close(operator.matmul(x), operator.dense() @ x)
    torch.testing.assert_close(operator.rmatmul(y), operator.dense().T @ y)


def test_bad_factors_are_refused():
    left = torch.ones(2, 3)
    with pytest.raises(ValueError, match="temperature must be finite and positive, got 0"):
        ExpCosine(left, left, 0)
    with pytest.raises(ValueError, match=r"same width, got shapes \(2, 3\) and \(2, 4\)"):
        ExpCosine(left, torch.ones(2, 4), 1)
    with pytest.raises(ValueError, match="share dtype and device"):
        ExpCosine(left, left.double(), 1)
    with pytest.raises(ValueError, match="rows of right must be finite and not zero; 1 of 2"):
        ExpCosine(left, torch.tensor([[0.0, 0, 0], [1, 0, 0]]), 1)


MEASURED = """
import resource, torch
from selip_core.similarity import ExpCosine
torch.manual_seed(0)
left, x = torch.randn(16384, 32), torch.randn(16384, 8, requires_grad=True)
operator = ExpCosine(left, left, 0.05)
operator.select(torch.arange(64), torch.arange(64)).matmul(x[:64])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
operator.matmul(x).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux only")
def test_products_never_hold_the_table():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, check=True)
    table_kib = 16384**2 * 4 / 1024
    assert int(done.stdout) < table_kib / 10
