"""A first layer for another number of input channels."""

import pytest
import torch

from selip_core.encoders import ResNetEncoder, ViTEncoder
from selip_core.encoders.weights import adapt_channels, load_weights


def response(weight, channels):
    """What a convolution with this weight makes of volumes whose channels are given."""
    return torch.nn.functional.conv3d(channels, weight)


def equal_channels(count):
    x = torch.randn(2, 1, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x.expand(-1, count, -1, -1, -1)


@pytest.mark.parametrize(("have", "want"), [(1, 1), (1, 4), (4, 1), (2, 4), (3, 5), (5, 3)])
def test_sum_keeps_the_response_to_equal_channels(have, want):
    weight = torch.randn(6, have, 3, 3, 3, dtype=torch.float64)
    adapted = adapt_channels(weight, want, "sum")
    torch.testing.assert_close(
        response(adapted, equal_channels(want)), response(weight, equal_channels(have))
    )


@pytest.mark.parametrize(("have", "want"), [(1, 4), (4, 1), (3, 5)])
def test_mean_scales_the_response_to_equal_channels_by_their_number(have, want):
    weight = torch.randn(6, have, 3, 3, 3, dtype=torch.float64)
    adapted = adapt_channels(weight, want, "mean")
    torch.testing.assert_close(
        response(adapted, equal_channels(want)),
        response(weight, equal_channels(have)) * want / have,
    )


@pytest.mark.parametrize(("have", "want"), [(1, 3), (2, 4), (2, 5), (3, 4)])
def test_repeat_keeps_the_response_to_repeated_channels(have, want):
    weight = torch.randn(6, have, 3, 3, 3, dtype=torch.float64)
    x = torch.randn(2, have, 4, 4, 4, dtype=torch.float64)
    repeated = x[:, [i % have for i in range(want)]]
    adapted = adapt_channels(weight, want, "repeat")
    torch.testing.assert_close(response(adapted, repeated), response(weight, x))


def test_repeat_leaves_no_channel_out(save):
    trained = ResNetEncoder(10, in_channels=4, embed_dim=6, width=1 / 16)
    path = save(trained.state_dict())
    with pytest.raises(
        ValueError, match="has 4 input channels and the encoder 2: channels='repeat'"
    ):
        load_weights(ResNetEncoder(10, 2, embed_dim=6, width=1 / 16), path, channels="repeat")


def test_an_unknown_way_is_refused(save):
    with pytest.raises(ValueError, match=r"one of \['sum', 'mean', 'repeat'\], got 'first'"):
        load_weights(None, "nowhere.safetensors", channels="first")


@pytest.mark.parametrize(("have", "want"), [(1, 3), (4, 1)])
def test_a_residual_network_makes_the_same_of_equal_channels(save, have, want):
    torch.manual_seed(0)
    trained = ResNetEncoder(10, have, embed_dim=6, width=1 / 16).eval()
    encoder = ResNetEncoder(10, want, embed_dim=6, width=1 / 16).eval()
    report = load_weights(encoder, save(trained.state_dict()))
    assert report.adapted["network.conv1.weight"] == f"{have} input channels to {want} (sum)"
    assert report.share == 1.0
    x = torch.randn(2, 1, 8, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(x.expand(-1, want, -1, -1, -1)), trained(x.expand(-1, have, -1, -1, -1))
        )


def test_a_vision_transformer_makes_the_same_of_equal_channels(save):
    torch.manual_seed(0)
    options = {"embed_dim": 6, "patch_size": (4, 8, 8), "native_size": (8, 16, 16), "layers": 4}
    trained, encoder = (ViTEncoder(24, 2, c, **options).eval() for c in (1, 3))
    load_weights(encoder, save(trained.state_dict()))
    x = torch.randn(2, 1, 8, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x.expand(-1, 3, -1, -1, -1)), trained(x))


def test_only_the_first_layer_is_adapted(save):
    """A later layer whose input channels differ is of another network."""
    trained = ResNetEncoder(10, embed_dim=6, width=1 / 16).state_dict()
    trained["network.layer1.0.conv1.weight"] = torch.zeros(4, 1, 3, 3, 3)
    encoder = ResNetEncoder(10, embed_dim=6, width=1 / 16)
    report = load_weights(encoder, save(trained), minimum_share=0.5)
    assert report.unmatched_encoder == ("network.layer1.0.conv1.weight",)
    assert report.adapted == {}
