"""MONAI's ViT, masked autoencoders, BrainIAC's ViT-B: every value arrives, with output to prove."""

import pytest
import torch

from selip_core.encoders import ViTEncoder, create_image_encoder
from selip_core.encoders.patches import resize_positions
from selip_core.encoders.weights import WeightsError, load_weights

PATCH, SIZE = (4, 8, 8), (8, 32, 32)  # a grid of 2 x 4 x 4
CHANNELS = 24


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def small(**options):
    options = {"patch_size": PATCH, "native_size": SIZE, "layers": 4} | options
    return ViTEncoder(CHANNELS, 2, embed_dim=6, **options).eval()


@pytest.fixture
def monai_vit():
    """Build MONAI's ViT with random values in every tensor, in evaluation mode."""
    vit = pytest.importorskip("monai.networks.nets.vit")

    def build(layers=4, size=SIZE, **options):
        torch.manual_seed(0)
        network = vit.ViT(
            1,
            size,
            PATCH,
            hidden_size=CHANNELS,
            mlp_dim=4 * CHANNELS,
            num_layers=layers,
            num_heads=2,
            **options,
        ).eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return network

    return build


def old(tensors):
    """As old versions of MONAI wrote it: with cross attention that nothing ran."""
    return tensors | {"blocks.0.cross_attn.to_q.weight": torch.zeros(CHANNELS, CHANNELS)}


@pytest.mark.parametrize("prefix", ["", "vit.", "module.vit.", "model.encoder."])
def test_monai_vit_gives_what_its_network_gives(save, monai_vit, prefix):
    network, encoder = monai_vit(), small()
    rest = {"decoder5.conv_block.conv1.conv.weight": torch.zeros(2, 2, 1, 1, 1)}
    report = load_weights(encoder, save(under(prefix, old(network.state_dict())) | rest))
    assert (report.format, report.share, report.used_share) == ("monai-vit", 1.0, 1.0)
    x = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_tokens(x), network(x)[0])


def test_a_class_token_and_biases_arrive(save, monai_vit):
    network = monai_vit(classification=True, qkv_bias=True)
    encoder = small(class_token=True, qkv_bias=True)
    report = load_weights(encoder, save(network.state_dict()))
    assert (report.share, report.unmatched_file, report.ignored) == (1.0, (), 10)
    del network.classification_head
    x = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_tokens(x)[:, 0], network(x)[0][:, 0])


@pytest.mark.parametrize(
    ("made", "name"), [({"qkv_bias": True}, "attn.qkv.bias"), ({}, "mlp.linear1.scale")]
)
def test_layers_of_the_file_with_more_than_ours_are_refused(save, monai_vit, made, name, caplog):
    """What they add would be missing in the features, and no share of the parameters shows it."""
    tensors = monai_vit(**made).state_dict()
    tensors.setdefault(f"blocks.0.{name}", torch.ones(4 * CHANNELS))
    encoder = small()
    before = encoder.network.blocks[0].attn.qkv.weight.clone()
    told = rf"in the encoder's: network\.blocks\.0\.{name}[^$]*create it with qkv_bias=True"
    with pytest.raises(WeightsError, match=told) as caught:
        load_weights(encoder, save(tensors))
    assert caught.value.report.share == 1.0
    assert torch.equal(encoder.network.blocks[0].attn.qkv.weight, before)
    assert load_weights(encoder, save(tensors), partial_layers=True).share == 1.0
    assert f"has what no place was found for: blocks.0.{name}" in caplog.text


def test_a_class_token_that_nothing_ran_is_left_out(save, monai_vit):
    unused = {"patch_embedding.cls_token": torch.zeros(1, 1, CHANNELS)}
    report = load_weights(small(), save(monai_vit().state_dict() | unused))
    assert report.unmatched_file == ()


def test_a_linear_layer_over_patches_becomes_a_convolution(save, monai_vit):
    network, encoder = monai_vit(proj_type="perceptron"), small()
    report = load_weights(encoder, save(network.state_dict()))
    assert report.share == 1.0
    assert any("written as a convolution" in note for note in report.adapted.values())
    x = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_tokens(x), network(x)[0])


@pytest.mark.parametrize("prefix", ["backbone.", "model.backbone.", "backbone.backbone."])
def test_brainiac_vit_gives_what_its_network_gives(save, monai_vit, prefix):
    network, encoder = monai_vit(), small()
    head = {"projection_head.0.weight": torch.zeros(2, 2)}
    report = load_weights(encoder, save(under(prefix, old(network.state_dict())) | head))
    assert (report.format, report.share, report.used_share) == ("brainiac", 1.0, 1.0)
    x = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_tokens(x), network(x)[0])


def test_positions_are_interpolated_to_the_encoders_grid(save, monai_vit):
    """From a cube of patches to few thick slices: what is linear in the position stays linear."""
    network, encoder = monai_vit(size=(16, 32, 32)), small()
    d, h, w = torch.meshgrid(*[torch.arange(4.0) + 0.5] * 3, indexing="ij")
    network.patch_embedding.position_embeddings.data = (
        (d + 10 * h + 100 * w).reshape(1, -1, 1).expand(-1, -1, CHANNELS).clone()
    )
    report = load_weights(encoder, save(network.state_dict()))
    name = "network.patch_embedding.position_embeddings"
    assert report.adapted == {name: "positions of (4, 4, 4) patches to (2, 4, 4)"}
    loaded = encoder.network.patch_embedding.position_embeddings[0, :, 0].reshape(2, 4, 4)
    torch.testing.assert_close(
        loaded, (d + 10 * h + 100 * w)[:2] + torch.tensor([0.5, 1.5]).reshape(2, 1, 1)
    )


def test_the_grid_of_positions_can_be_told(save, monai_vit):
    path = save(monai_vit(size=(8, 48, 32)).state_dict())
    report = load_weights(small(), path)
    assert report.unmatched_encoder == ("network.patch_embedding.position_embeddings",)
    assert load_weights(small(), path, grid=(2, 6, 4)).share == 1.0
    with pytest.raises(ValueError, match=r"grid \(3, 6, 4\) has 72 patches, .* positions of 48"):
        load_weights(small(), path, grid=(3, 6, 4))


def test_as_many_positions_of_a_cube_are_not_those_of_our_grid(save, monai_vit, caplog):
    """64 patches are (4, 4, 4) in files of others, and (2, 4, 8) in this encoder."""
    network = monai_vit(size=(16, 32, 32))
    path = save(network.state_dict())
    assumed, alike = small(native_size=(8, 32, 64)), small(native_size=(8, 32, 64))
    report = load_weights(assumed, path)
    (note,) = report.adapted.values()
    assert note == "positions of (4, 4, 4) patches to (2, 4, 8)"
    assert f"so a cube is taken: {note}" in caplog.text
    assert load_weights(alike, path, grid=(2, 4, 8)).adapted == {}
    theirs = network.patch_embedding.position_embeddings
    assert torch.equal(alike.network.patch_embedding.position_embeddings, theirs)
    resized = resize_positions(theirs, (4, 4, 4), (2, 4, 8))
    torch.testing.assert_close(
        assumed.network.patch_embedding.position_embeddings.data, resized.data
    )


@pytest.mark.parametrize("told", [(2, 4, 4), (4, 2, 4)])
def test_a_told_grid_counts_also_where_the_number_of_patches_is_the_same(save, monai_vit, told):
    size = tuple(patches * voxels for patches, voxels in zip(told, PATCH, strict=True))
    network, encoder = monai_vit(size=size), small()
    report = load_weights(encoder, save(network.state_dict()), grid=told)
    theirs = network.patch_embedding.position_embeddings
    assert len(report.adapted) == (told != (2, 4, 4))
    assert torch.equal(encoder.network.patch_embedding.position_embeddings, theirs) == (
        told == (2, 4, 4)
    )


def test_a_masked_autoencoder_of_monai_gives_its_encoder(save):
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    network = nets.MaskedAutoEncoderViT(
        1, SIZE, PATCH, CHANNELS, 4 * CHANNELS, 4, 2, 0.5, CHANNELS, 8, 1, 2
    ).eval()
    encoder = small(class_token=True)
    report = load_weights(encoder, save(network.state_dict()))
    assert (report.format, report.share, report.used_share) == ("mae", 1.0, 1.0)
    x = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        tokens = network.patch_embedding(x)
        tokens = torch.cat((network.cls_token.expand(2, -1, -1), tokens), dim=1)
        torch.testing.assert_close(encoder.forward_tokens(x), network.blocks(tokens))


TIMM = (
    ("class_token.0", "cls_token"),
    ("patch_embedding.position_embeddings", "pos_embed"),
    ("patch_embedding.patch_embeddings", "patch_embed.proj"),
    ("attn.out_proj", "attn.proj"),
    ("mlp.linear", "mlp.fc"),
    ("network.", ""),
)


def test_a_masked_autoencoder_with_timms_names_gives_its_encoder(save):
    """The class token's own position, which comes first, is added to the token."""
    torch.manual_seed(0)
    wanted = small(class_token=True, qkv_bias=True)
    tensors = {}
    for name, tensor in wanted.state_dict().items():
        for ours, theirs in TIMM:
            name = name.replace(ours, theirs)
        tensors[name] = tensor
    tensors = {k: v for k, v in tensors.items() if not k.startswith("pooling.")}
    own = torch.randn(1, 1, CHANNELS)
    tensors["cls_token"] = tensors["cls_token"].reshape(1, 1, -1) - own
    tensors["pos_embed"] = torch.cat((own, tensors["pos_embed"]), dim=1)
    tensors["decoder_embed.weight"] = torch.zeros(2, CHANNELS)
    encoder = small(class_token=True, qkv_bias=True)
    report = load_weights(encoder, save(tensors))
    assert (report.format, report.share, report.used_share) == ("mae", 1.0, 1.0)
    assert report.adapted["class_token.0"] == "its position was added to it"
    x = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_tokens(x), wanted.forward_tokens(x))


def test_an_encoder_without_class_token_leaves_it_out(save, monai_vit):
    report = load_weights(small(), save(monai_vit(classification=True).state_dict()))
    assert (report.share, report.used_share) == (1.0, 1.0)
    assert report.unmatched_file == ("cls_token",)


@pytest.mark.parametrize(("have", "want", "cause"), [(8, 4, "deeper"), (4, 8, "deeper than the")])
def test_another_number_of_layers_fails(save, monai_vit, have, want, cause):
    with pytest.raises(WeightsError, match=cause):
        load_weights(small(layers=want), save(monai_vit(have).state_dict()))


def test_another_width_fails_and_says_so(save, monai_vit):
    encoder = ViTEncoder(48, 2, patch_size=PATCH, native_size=SIZE, layers=4)
    with pytest.raises(WeightsError, match=r"another width, kind of block or patch: .* has shape"):
        load_weights(encoder, save(monai_vit().state_dict()))


def test_heads_are_an_option_and_no_tensor_shows_them(save):
    """192 channels and 3 heads, as small transformers have."""
    vit = pytest.importorskip("monai.networks.nets.vit")
    torch.manual_seed(0)
    network = vit.ViT(1, SIZE, PATCH, 192, 768, num_layers=4, num_heads=3).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    path = save(network.state_dict())
    options = {"patch_size": PATCH, "native_size": SIZE, "layers": 4, "width": 0.5}
    three, six = (
        create_image_encoder("vit_small", pretrained=path, **options, **heads).eval()
        for heads in ({"heads": 3}, {})
    )
    x = torch.randn(2, 1, *SIZE)
    with torch.no_grad():
        expected = network(x)[0]
        torch.testing.assert_close(three.forward_tokens(x), expected)
        assert (six.forward_tokens(x) - expected).abs().max() > 1e-2
    report = load_weights(three, path)
    assert "trained with        heads not told by the file; the encoder has 3" in str(report)


def test_heads_that_are_known_are_told(save, monai_vit, caplog):
    report = load_weights(small(), save(under("backbone.", monai_vit().state_dict())))
    assert report.differing == {"heads": 12}
    assert "is made with heads=12" in caplog.text
