import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selip_core.similarity import Dense, Factored, Identity, LowRank, ScaledSum
from selip_core.similarity.operators import Sparse


def test_acts_as_its_dense_matrix(operator):
    dense = operator.dense()
    rows, columns = operator.shape
    like = {"dtype": operator.dtype, "device": operator.device}
    x, y = torch.randn(columns, 3, **like), torch.randn(rows, 3, **like)
    assert dense.shape == operator.shape
    assert dense.dtype == operator.dtype
    torch.testing.assert_close(operator.matmul(x), dense @ x)
    torch.testing.assert_close(operator.rmatmul(y), dense.T @ y)
    torch.testing.assert_close(operator.row_sums(), dense.sum(1))
    torch.testing.assert_close(operator.column_sums(), dense.sum(0))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    width=st.integers(1, 5),
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_shape_acts_as_its_dense_matrix(
    any_operator, operator_name, rows, columns, width, seed, dtype
):
    operator = any_operator(operator_name, dtype, rows, columns, seed)
    dense = operator.dense()
    assert dense.shape == (rows, columns)
    assert bool((dense >= 0).all())
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(columns, width, generator=generator, dtype=dtype)
    y = torch.randn(rows, width, generator=generator, dtype=dtype)
    torch.testing.assert_close(operator.matmul(x), dense @ x)
    torch.testing.assert_close(operator.rmatmul(y), dense.T @ y)
    chosen = tuple(
        torch.randint(size, (count,), generator=generator)
        for size, count in ((rows, 3), (columns, 2))
    )
    block = operator.select(*chosen)
    torch.testing.assert_close(block.dense(), dense[chosen[0]][:, chosen[1]])
    torch.testing.assert_close(block.rmatmul(y[:3].new_ones(3, 1)), block.dense().sum(0)[:, None])
    assert operator.nbytes > 0


@pytest.mark.parametrize(
    ("rows", "columns"),
    [([0, 3, 3, 6], [4, 0]), ([5], [1, 1, 2]), ([2], [2]), (range(7), range(5))],
)
def test_selection_is_the_block_and_selects_again(operator, rows, columns):
    rows, columns = torch.tensor(list(rows)), torch.tensor(list(columns))
    block = operator.select(rows, columns)
    expected = operator.dense()[rows.to(operator.device)][:, columns.to(operator.device)]
    torch.testing.assert_close(block.dense(), expected)
    first = torch.tensor([0])
    torch.testing.assert_close(block.select(first, first).dense(), expected[:1, :1])
    eye = torch.eye(len(columns), dtype=block.dtype, device=block.device)
    torch.testing.assert_close(block.matmul(eye), expected)


def test_tile_is_a_contiguous_block(operator):
    for rows, columns in [(slice(2, 5), slice(1, 4)), (slice(6, 7), slice(None))]:
        torch.testing.assert_close(operator.tile(rows, columns), operator.dense()[rows, columns])


def test_entropy_is_that_of_the_normalised_table(operator):
    ones = torch.ones(7, 5, dtype=operator.dtype, device=operator.device)
    filled = ScaledSum((1.0, 0.1), (operator, Dense(ones)))
    dense = filled.dense()
    rows, columns = filled.entropy()
    by_row = dense / dense.sum(1, keepdim=True)
    by_column = dense / dense.sum(0, keepdim=True)
    torch.testing.assert_close(rows, -torch.xlogy(by_row, by_row).sum(1))
    torch.testing.assert_close(columns, -torch.xlogy(by_column, by_column).sum(0))


def test_precision_changes_and_low_precision_is_raised(operator):
    double = operator.to(dtype=torch.float64).dense()
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.to(operator.dtype), operator.dense())
    low = torch.ones(5, 1, dtype=torch.bfloat16, device=operator.device)
    assert operator.matmul(low).dtype == operator.dtype


def test_moving_to_where_it_is_costs_nothing(operator):
    assert operator.to() is operator
    assert operator.to(operator.device, operator.dtype) is operator
    assert operator.to(operator.device.type) is operator
    with pytest.raises(ValueError, match="compute in float32 or float64"):
        operator.to(dtype=torch.bfloat16)


def test_products_are_differentiable(operator):
    operator = operator.to(dtype=torch.float64)
    like = {"dtype": torch.float64, "device": operator.device, "requires_grad": True}
    x, y = torch.randn(5, 2, **like), torch.randn(7, 2, **like)
    assert torch.autograd.gradcheck(operator.matmul, x)
    assert torch.autograd.gradcheck(operator.rmatmul, y)


def test_wrong_vectors_are_refused(operator):
    with pytest.raises(ValueError, match=r"matmul .* needs \(5, d\), got \(7, 2\)"):
        operator.matmul(torch.ones(7, 2))
    with pytest.raises(ValueError, match=r"rmatmul .* needs \(7, d\), got \(5, 2\)"):
        operator.rmatmul(torch.ones(5, 2))


def test_values_of_a_table_are_checked():
    with pytest.raises(ValueError, match="1 negative and 0 not finite"):
        Dense(torch.tensor([[1.0, -0.5]]))
    with pytest.raises(ValueError, match="0 negative and 2 not finite"):
        Dense(torch.tensor([[torch.nan, torch.inf]]))
    with pytest.raises(ValueError, match="must be floating"):
        Dense(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must be a matrix, got shape \(2,\)"):
        Dense(torch.ones(2))


def test_factors_that_do_not_fit_are_refused():
    labels = torch.arange(2)
    with pytest.raises(ValueError, match=r"same rank, got shapes \(2, 3\) and \(2, 4\)"):
        LowRank(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ValueError, match="share dtype and device"):
        LowRank(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="int64 vector"):
        Identity(torch.ones(2), labels)
    with pytest.raises(ValueError, match="float32 or float64"):
        Identity(labels, labels, torch.ones(2, dtype=torch.float16))
    eye = Sparse.of_table(torch.eye(2))
    with pytest.raises(ValueError, match=r"\(n, u\), \(u, v\) and \(m, v\), got .*\(3, 3\)"):
        Factored(eye, Dense(torch.eye(3)), eye)
    with pytest.raises(ValueError, match="share dtype and device"):
        Factored(eye, Dense(torch.eye(2).double()), eye)
    with pytest.raises(ValueError, match="as many scales as operators"):
        ScaledSum((1.0, 1.0), (Identity(labels, labels),))
    with pytest.raises(ValueError, match="not negative"):
        ScaledSum((-1.0,), (Identity(labels, labels),))
    with pytest.raises(ValueError, match="share shape, dtype and device"):
        ScaledSum((1.0, 1.0), (Identity(labels, labels), Dense(torch.ones(3, 3))))


def test_identity_of_different_labels_is_the_identity_matrix():
    labels = torch.tensor([40, 10, 30])
    torch.testing.assert_close(Identity(labels, labels).dense(), torch.eye(3))
