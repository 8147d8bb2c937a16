import pytest
import torch

from selip_core.encoders import DenseNetEncoder


@torch.no_grad()
def test_is_monais_network_where_it_drops_no_voxels():
    densenet = pytest.importorskip("monai.networks.nets.densenet")
    ours = DenseNetEncoder(121, width=1 / 16).eval()
    theirs = densenet.DenseNet121(3, 1, 512, init_features=4, growth_rate=2).eval()
    head = {f"class_layers.out.{k}": v for k, v in ours.pooling.projection.state_dict().items()}
    theirs.load_state_dict(ours.network.state_dict() | head)
    x = torch.randn(1, 1, 32, 64, 32)
    torch.testing.assert_close(ours(x), theirs(x))


@torch.no_grad()
def test_last_voxels_of_an_odd_size_are_seen():
    ours = DenseNetEncoder(121, stem_stride=(1, 2, 2), width=1 / 16).eval()
    x = torch.zeros(1, 1, 9, 33, 33)
    changed = x.clone()
    changed[:, :, -1] = 10.0
    assert not torch.allclose(ours(x), ours(changed))
    assert ours.spec.stage_sizes((9, 33, 33))[-1] == (2, 2, 2)


@torch.no_grad()
def test_maps_are_activations_that_nothing_changes_afterwards():
    """Activations work in place; what was handed out must not be what they work on."""
    ours = DenseNetEncoder(121, width=1 / 16).eval()
    maps = ours.forward_features(torch.randn(1, 1, 32, 32, 32))
    for index, stage in enumerate(ours.stages()[1:]):
        x = maps[index]
        for module in stage:
            x = module(x)
        torch.testing.assert_close(x, maps[index + 1])
    assert all((m >= 0).all() for m in maps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 120}, r"depth must be one of \(121, 169, 201, 264\), got 120"),
        ({"width": 0.01}, "width must leave at least one of 32 channels .*, got 0.01"),
        ({"width": float("inf")}, "width must leave .*, got inf"),
        ({"stem_stride": (0, 1, 1)}, r"stem_stride must be a whole .*, got \(0, 1, 1\)"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        DenseNetEncoder(**({"depth": 121} | options))


def test_refuses_volumes_too_small_for_the_last_transition():
    with pytest.raises(ValueError, match=r"nearest right shape is \(1, 1, 5, 17, 17\)"):
        DenseNetEncoder(121, stem_stride=(1, 2, 2), width=1 / 16)(torch.zeros(1, 1, 4, 16, 16))
