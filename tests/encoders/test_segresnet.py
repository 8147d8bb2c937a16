import pytest
import torch

from selip_core.encoders import SegResNetEncoder


@torch.no_grad()
@pytest.mark.parametrize("width", [0.5, 1])
def test_maps_are_those_that_monais_decoder_reads(width):
    segresnet = pytest.importorskip("monai.networks.nets.segresnet")
    ours = SegResNetEncoder(width=width).eval()
    theirs = segresnet.SegResNet(init_filters=int(32 * width)).eval()
    found = theirs.load_state_dict(ours.network.state_dict(), strict=False)
    assert found.unexpected_keys == []
    assert all(key.startswith(("up_", "conv_final")) for key in found.missing_keys)
    x = torch.randn(1, 1, 16, 8, 16)
    _, expected = theirs.encode(x)
    for mine, yours in zip(ours.forward_features(x), expected, strict=True):
        torch.testing.assert_close(mine, yours)


def test_as_many_maps_as_blocks():
    ours = SegResNetEncoder(blocks=(1, 1), width=1 / 16)
    assert ours.spec.stage_channels == (2, 4)
    assert ours.spec.stage_strides == ((1, 1, 1), (2, 2, 2))
    assert len(ours.forward_features(torch.zeros(1, 1, 3, 4, 5))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.01}, "width must leave at least one of 32 channels"),
        ({"width": float("nan")}, "width must leave .*, got nan"),
        ({"blocks": (1, 0)}, r"blocks must be at least 1 for every map, got \(1, 0\)"),
        ({"blocks": ()}, r"blocks must be at least 1 for every map, got \(\)"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        SegResNetEncoder(**options)
