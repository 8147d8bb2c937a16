import torch

from selip_core.testing import (
    converged_features,
    oracle,
    random_features,
    random_similarities,
)


def test_the_same_again() -> None:
    first, second = random_features(5, 3, 4, seed=3), random_features(5, 3, 4, seed=3)
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    assert not torch.equal(first[0], random_features(5, 3, 4, seed=4)[0])


def test_at_convergence_next_to_no_gradient_is_left() -> None:
    target = torch.block_diag(*[torch.ones(2, 2)] * 12)
    converged = oracle(*converged_features(target, width=24), 14.0, target=target)
    start = oracle(*random_features(24, 24, 24), 14.0, target=target)
    assert converged.image_features.norm() < start.image_features.norm() / 100


def test_similarities() -> None:
    table = random_similarities(9)
    assert table.min() >= 0
    assert table.max() == 1
    symmetric = random_similarities(9, symmetric=True)
    assert torch.equal(symmetric, symmetric.T)
