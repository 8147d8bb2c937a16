"""Layers over a few embeddings."""

import pytest
import torch

from selip_core.encoders.transformer import transformer


def test_every_layer_is_drawn_by_itself():
    first, second = transformer(channels=8, layers=2, heads=2).layers
    for (name, ours), theirs in zip(first.named_parameters(), second.parameters(), strict=True):
        assert ours.std() == 0 or not torch.equal(ours, theirs), name


@pytest.mark.parametrize(
    ("layers", "heads", "message"),
    [
        (0, 2, "layers must be a whole number of at least 1, got 0"),
        (1, 0, "heads must be a whole number of at least 1, got 0"),
        (1, 2.0, r"heads must be a whole number of at least 1, got 2\.0"),
        (1, 3, "heads must divide the 8 channels, got 3"),
    ],
)
def test_refuses_impossible_options(layers, heads, message):
    with pytest.raises(ValueError, match=message):
        transformer(8, layers, heads)
