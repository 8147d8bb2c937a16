"""Swin transformers of SwinUNETR: every value arrives, with the output to prove."""

import pytest
import torch

from selip_core.encoders import SwinEncoder
from selip_core.encoders.weights import WeightsError, load_weights, resize_bias_table

HEADS = {"encoder1.layer.conv1.conv.weight": torch.zeros(2, 2), "out.conv.conv.bias": torch.ones(2)}
PRETEXT = {
    "rotation_head.weight": torch.zeros(4, 2),
    "contrastive_head.bias": torch.zeros(2),
    "conv.0.weight": torch.zeros(2, 2),
}


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def old(tensors):
    """The names that the published ``model_swinvit.pt`` has."""
    return {name.replace("mlp.linear", "mlp.fc"): tensor for name, tensor in tensors.items()}


@pytest.fixture
def swin():
    """Build MONAI's Swin transformer with random values in every tensor."""
    unetr = pytest.importorskip("monai.networks.nets.swin_unetr")

    def build(channels=12, window=(7, 7, 7), depths=(2, 2, 2, 2), in_channels=1):
        torch.manual_seed(0)
        network = unetr.SwinTransformer(
            in_channels, channels, window, (2, 2, 2), depths, (3, 6, 12, 24)
        ).eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return network

    return build


def small(**options):
    return SwinEncoder(12, embed_dim=6, **options).eval()


def assert_same_output(encoder, network):
    x = torch.randn(1, 1, 32, 16, 16)
    with torch.no_grad():
        for ours, theirs in zip(encoder.forward_features(x), network(x), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("prefix", "rename", "rest"),
    [
        ("module.", old, {}),
        ("swin_vit.", dict, PRETEXT),
        ("module.swin_vit.", dict, under("module.", PRETEXT)),
        ("swinViT.", dict, HEADS),
    ],
)
def test_gives_what_its_network_gives(save, swin, prefix, rename, rest):
    network, encoder = swin(), small()
    tensors = rename(under(prefix, network.state_dict())) | rest
    assert prefix + "layers1.0.blocks.0.attn.relative_position_index" in tensors
    report = load_weights(encoder, save(tensors))
    assert (report.format, report.share, report.used_share) == ("monai-swin", 1.0, 1.0)
    assert (report.unmatched_file, report.ignored) == ((), len(rest))
    assert (encoder.spec.orientation, encoder.spec.weights.licence) == ("RAS", "Apache-2.0")
    assert_same_output(encoder, network)


def test_another_window_gets_its_tables_interpolated(save, swin):
    network, encoder = swin(), small(window=(3, 5, 5))
    report = load_weights(encoder, save(under("swinViT.", network.state_dict())))
    assert report.share == 1.0
    name = "network.layers2.0.blocks.1.attn.relative_position_bias_table"
    assert report.adapted[name] == "window (7, 7, 7) to (3, 5, 5)"
    theirs = network.layers2[0].blocks[1].attn.relative_position_bias_table
    ours = (
        encoder.network.layers2[0].blocks[1].attn.relative_position_bias_table.reshape(5, 9, 9, -1)
    )
    corners = theirs.reshape(13, 13, 13, -1)[::12, ::12, ::12]
    torch.testing.assert_close(ours[::4, ::8, ::8], corners)
    torch.testing.assert_close(ours[2, 4, 4], theirs.reshape(13, 13, 13, -1)[6, 6, 6])


def test_a_table_keeps_what_is_linear_in_the_offset():
    d, h, w = torch.meshgrid(*[torch.linspace(-1, 1, 13)] * 3, indexing="ij")
    table = (d + 10 * h + 100 * w).reshape(-1, 1)
    d, h, w = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (3, 7, 9)], indexing="ij")
    expected = (d + 10 * h + 100 * w).reshape(-1, 1)
    torch.testing.assert_close(resize_bias_table(table, (7, 7, 7), (2, 4, 5)), expected)


def test_another_depth_fails(save, swin):
    path = save(under("swinViT.", swin(depths=(2, 2, 6, 2)).state_dict()))
    with pytest.raises(WeightsError, match="the file's network is deeper"):
        load_weights(small(), path)


def test_another_feature_size_fails(save, swin):
    path = save(under("swinViT.", swin(24).state_dict()))
    with pytest.raises(WeightsError, match=r"patch_embed.proj.weight has shape \(24, 1, 2, 2, 2\)"):
        load_weights(small(), path)


def test_an_encoder_with_convolutions_before_its_stages_lacks_them(save, swin):
    encoder = small(use_v2=True)
    path = save(under("swinViT.", swin().state_dict()))
    with pytest.raises(WeightsError, match="the encoder is deeper"):
        load_weights(encoder, path, minimum_share=1.0)
