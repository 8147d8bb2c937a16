import pytest
import torch

from selip_core.encoders import SEResNetEncoder


@torch.no_grad()
def test_is_monais_network_but_for_the_padding_of_its_pooling():
    senet = pytest.importorskip("monai.networks.nets.senet")
    ours = SEResNetEncoder(50, stages=2).eval()
    with torch.device("meta"):  # what is not compared needs no numbers
        theirs = senet.SEResNet50(spatial_dims=3, in_channels=1, num_classes=1).eval()
    found = theirs.load_state_dict(ours.network.state_dict(), strict=False, assign=True)
    assert found.unexpected_keys == []
    theirs.layer0.pool = ours.network.layer0.pool
    x = torch.randn(1, 1, 17, 24, 16)
    maps = ours.forward_features(x)
    torch.testing.assert_close(maps[0], theirs.layer0[:-1](x))
    torch.testing.assert_close(maps[1], theirs.layer1(theirs.layer0(x)))
    torch.testing.assert_close(maps[2], theirs.layer2(maps[1]))


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_stages_that_are_not_kept_have_no_parameters(stages):
    with torch.device("meta"):
        ours = SEResNetEncoder(50, stages=stages)
        maps = ours.forward_features(torch.empty(1, 1, 33, 34, 35))
    assert len(maps) == stages + 1 == len(ours.stages())
    assert [tuple(m.shape[2:]) for m in maps] == ours.spec.stage_sizes((33, 34, 35))
    assert not any(f"layer{stages + 1}" in key for key in ours.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 51}, r"depth must be one of \(50, 101, 152\), got 51"),
        ({"stages": 5}, "stages must be 1, 2, 3 or 4, got 5"),
        ({"stem_stride": 1.5}, "stem_stride must be a whole .*, got 1.5"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        SEResNetEncoder(**({"depth": 50} | options))
