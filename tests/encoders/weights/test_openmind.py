"""Residual encoders of nnssl and nnU-Net: every value arrives, with the output to prove."""

import functools
import json

import pytest
import torch

from selip_core.encoders import create_image_encoder
from selip_core.encoders.weights import WeightsError, load_weights

architectures = pytest.importorskip("dynamic_network_architectures.architectures.unet")

FEATURES = (4, 8, 16, 32, 40, 40)
BLOCKS = (1, 3, 4, 6, 6, 6)  # ResEnc-L's


@functools.cache
def unet(features=FEATURES, blocks=BLOCKS):
    """ResEnc-L as nnssl builds it, with fewer channels."""
    torch.manual_seed(0)
    network = architectures.ResidualEncoderUNet(
        1,
        len(features),
        [*features],
        torch.nn.Conv3d,
        [[3, 3, 3]] * len(features),
        [[1, 1, 1], *[[2, 2, 2]] * (len(features) - 1)],
        [*blocks],
        2,
        [1] * (len(features) - 1),
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def small(**options):
    return create_image_encoder("resenc_unet", embed_dim=6, width=1 / 8, **options).eval()


def assert_same_output(encoder, network):
    x = torch.randn(1, 1, 32, 64, 64)
    network.encoder.return_skips = True
    with torch.no_grad():
        for ours, theirs in zip(encoder.forward_features(x), network.encoder(x), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "architecture."])
def test_a_whole_unet_gives_its_encoder(save, prefix):
    network, encoder = unet(), small()
    tensors = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    assert prefix + "encoder.stem.convs.0.all_modules.0.weight" in tensors
    report = load_weights(encoder, save(tensors))
    assert (report.format, report.share, report.used_share) == ("openmind", 1.0, 1.0)
    assert report.unmatched_file == report.unmatched_encoder == ()
    assert report.ignored > 100  # the decoder, and the encoder that it holds
    assert_same_output(encoder, network)


@pytest.mark.parametrize("kept", ["conv", "all_modules.0"])
def test_either_name_of_a_layer_will_do(save, kept):
    network, encoder = unet(), small()
    dropped = {"conv": "all_modules", "all_modules.0": ".conv."}[kept]
    tensors = {k: v for k, v in network.encoder.state_dict().items() if dropped not in k}
    report = load_weights(encoder, save(tensors))
    assert report.share > 0.99
    x = torch.randn(1, 1, 32, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder.network.stem(x), network.encoder.stem(x))


def test_the_header_tells_the_spacing(save):
    path = save(unet().state_dict(), spacing=json.dumps([1.0, 1.5, 2.0]), licence="CC-BY-4.0")
    encoder = small()
    load_weights(encoder, path)
    assert encoder.spec.spacing == (1.0, 1.5, 2.0)
    assert encoder.spec.weights.licence == "CC-BY-4.0"


@pytest.mark.parametrize("spacing", ["no JSON", "3", "[1, 2]", '["a", 1, 1]', "[0, 1, 1]"])
def test_a_damaged_spacing_leaves_the_encoder_as_it_was(save, spacing):
    encoder = small()
    before = encoder.network.stem.convs[0].conv.weight.clone()
    with pytest.raises(ValueError, match="the header's spacing must be three"):
        load_weights(encoder, save(unet().state_dict(), spacing=spacing))
    torch.testing.assert_close(encoder.network.stem.convs[0].conv.weight, before)


def test_without_a_header_no_spacing_is_claimed(save):
    encoder = small()
    load_weights(encoder, save(unet().state_dict()))
    assert encoder.spec.spacing is None


@pytest.mark.parametrize("blocks", [(1, 1, 1, 1, 1, 1), (2, 5, 6, 10, 10, 12)])
def test_another_depth_fails(save, blocks):
    with pytest.raises(WeightsError, match="deeper"):
        load_weights(small(), save(unet(blocks=blocks).state_dict()))


def test_other_channels_fail(save):
    features = (6, 12, 24, 48, 60, 60)
    with pytest.raises(WeightsError, match=r"another width, .*stem.*has shape \(6, 1, 3, 3, 3\)"):
        load_weights(small(), save(unet(features).state_dict()))


def test_two_names_of_a_layer_must_have_the_same_values(save):
    tensors = {name: tensor.clone() for name, tensor in unet().encoder.state_dict().items()}
    tensors["stages.1.blocks.0.conv1.all_modules.0.weight"][0] += 1
    message = r"stages\.1\.blocks\.0\.conv1\.conv\.weight and .*all_modules.* different values"
    with pytest.raises(ValueError, match=message):
        load_weights(small(), save(tensors))
