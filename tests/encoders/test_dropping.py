"""Dropout and stochastic depth: the libraries' own, where they have them."""

import pytest
import torch

OPTIONS = [
    ("vit_small", "dropout"),
    ("swin_tiny", "dropout"),
    ("swin_tiny", "drop_path"),
    ("densenet121", "dropout"),
    ("efficientnet_b0", "drop_path"),
    ("segresnet", "dropout"),
    ("resenc_unet", "drop_path"),
]
each_option = pytest.mark.parametrize(("encoder", "option"), OPTIONS)


def volumes(encoder):
    size = encoder.spec.nearest_size(tuple(2 * size for size in encoder.spec.minimum_size))
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0))


@each_option
@torch.no_grad()
def test_drops_in_training_alone(create_small, encoder, option):
    made = create_small(encoder, **{option: 0.5})
    never = create_small(encoder, **{option: 0.0})
    never.load_state_dict(made.state_dict())  # there are no parameters in it
    x = volumes(made)
    expected = never.eval()(x)
    torch.testing.assert_close(made.eval()(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(made(x), expected, rtol=0, atol=0)
    first, second = made.train()(x), made(x)
    assert not torch.allclose(first, second, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(never.train()(x), never(x))


@each_option
@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_refuses_what_is_no_share(create_small, encoder, option, rate):
    with pytest.raises(ValueError, match=f"{option} must be at least 0 and below 1, got {rate}"):
        create_small(encoder, **{option: rate})


def test_efficientnets_drop_as_published(create_small):
    theirs = pytest.importorskip("monai.networks.nets.efficientnet")
    published = theirs.EfficientNetBNFeatures("efficientnet-b0", pretrained=False, spatial_dims=3)

    def rates(network):
        blocks = [m for m in network.modules() if isinstance(m, theirs.MBConvBlock)]
        return [block.drop_connect_rate for block in blocks]

    assert rates(create_small("efficientnet_b0").network) == pytest.approx(rates(published))
    assert rates(create_small("efficientnet_b0", drop_path=0.1).network) == pytest.approx(
        [rate / 2 for rate in rates(published)]
    )


@each_option
@torch.no_grad()
def test_frozen_stages_drop_nothing(create_small, encoder, option):
    made = create_small(encoder, **{option: 0.5})
    x = volumes(made)
    expected = made.eval().forward_features(x)
    frozen = made.freeze(len(made.stages())).train().forward_features(x)
    for ours, theirs in zip(frozen, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_efficientnets_leave_out_blocks_with_a_shortcut_alone(create_small):
    network = create_small("efficientnet_b0", drop_path=0.5).network.train()
    blocks = [block for stage in network._blocks for block in stage]
    rates = [block.drop_connect_rate for block in blocks]
    assert rates == pytest.approx([0.5 * index / len(blocks) for index in range(len(blocks))])
    last, with_shortcut = blocks[-1], blocks[-2]
    for block, drops in ((last, False), (with_shortcut, True)):
        x = torch.randn(32, with_shortcut.in_channels, 2, 2, 2)
        first, second = block(x), block(x)
        assert torch.allclose(first, second, rtol=1e-4, atol=1e-5) is not drops
