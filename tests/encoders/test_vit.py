from functools import partial

import pytest
import torch

from selip_core.encoders import ClassTokenPooling
from selip_core.encoders.patches import resize_positions
from selip_core.encoders.vit import ViTEncoder

PATCH, NATIVE = (2, 8, 8), (4, 24, 16)  # 2 x 3 x 2 patches


def encoder(**options):
    torch.manual_seed(0)
    small = {"patch_size": PATCH, "native_size": NATIVE, "layers": 8, "embed_dim": 6}
    return ViTEncoder(24, 4, **small | options).eval()


def volumes(size=NATIVE, batch=2):
    return torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(1))


def monais(ours, **options):
    """MONAI's network with our weights; its patches are counted as ours."""
    vit = pytest.importorskip("monai.networks.nets.vit")
    theirs = vit.ViT(
        1, NATIVE, PATCH, hidden_size=24, mlp_dim=96, num_layers=8, num_heads=4, **options
    )
    weights = dict(ours.network.state_dict())
    if len(ours.class_token):
        weights["cls_token"] = ours.class_token[0].expand(1, 1, -1)
    found = theirs.load_state_dict(weights, strict=False)
    assert found.unexpected_keys == []
    assert all("cross_attn" in key or "head" in key for key in found.missing_keys)
    return theirs.eval()


@torch.no_grad()
def test_is_monais_network_at_the_native_size():
    ours = encoder()
    last, hidden = monais(ours)(volumes())
    expected = [hidden[1], hidden[3], hidden[5], last]
    for features, tokens in zip(ours.forward_features(volumes()), expected, strict=True):
        torch.testing.assert_close(features.flatten(2).mT, tokens, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_class_token_is_that_of_monais_network():
    ours = encoder(pooling="cls", qkv_bias=True)
    torch.nn.init.normal_(ours.class_token[0])
    theirs = monais(ours, classification=True, num_classes=1, qkv_bias=True)
    theirs.classification_head = ours.pooling.projection
    torch.testing.assert_close(ours(volumes()), theirs(volumes())[0], rtol=1e-4, atol=1e-5)
    assert ours.forward_tokens(volumes()).shape == (2, 13, 24)
    assert ours.forward_features(volumes())[-1].shape == (2, 24, 2, 3, 2)


def test_a_class_token_that_is_pooled_cannot_be_left_out():
    with pytest.raises(ValueError, match="'cls' needs the class token: leave class_token out"):
        encoder(pooling="cls", class_token=False)


def test_class_token_helps_the_patches_under_another_pooling():
    ours = encoder(class_token=True)
    ours(volumes()).square().sum().backward()
    assert ours.class_token[0].grad.any()
    assert len(encoder().class_token) == 0


@pytest.mark.parametrize(
    "pooling",
    [
        "cls",
        ClassTokenPooling,
        partial(ClassTokenPooling),
        lambda channels, embed_dim: ClassTokenPooling(channels, embed_dim),
    ],
    ids=["name", "class", "partial", "function"],
)
def test_whatever_pools_the_class_token_adds_one(pooling):
    ours = encoder(pooling=pooling)
    assert len(ours.class_token) == 1
    ours(volumes()).square().sum().backward()
    assert ours.class_token[0].grad.any()


def test_every_layer_is_a_stage_of_its_own():
    ours = encoder(layers=6)
    blocks = list(ours.network.blocks)
    _, *layers = ours.stages()
    assert layers == [*([block] for block in blocks[:5]), [blocks[5], ours.network.norm]]


@torch.no_grad()
def test_one_number_stands_for_all_axes():
    ours = encoder(patch_size=8, native_size=16)
    assert ours.spec.divisor == (8, 8, 8)
    assert ours.native_grid == (2, 2, 2)
    assert ours(volumes((16, 8, 24))).shape == (2, 6)


def test_position_embeddings_of_another_grid_lie_between_those_known():
    line = torch.arange(4.0)
    field = 100 * line[:, None, None] + 10 * line[:, None] + line
    resized = resize_positions(field.reshape(1, -1, 1), (4, 4, 4), (8, 4, 2)).reshape(8, 4, 2)
    between = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    expected = 100 * between[:, None, None] + 10 * line[:, None] + torch.tensor([0.5, 2.5])
    torch.testing.assert_close(resized, expected)


@torch.no_grad()
def test_a_patch_is_known_by_its_position_at_every_size():
    """Were positions alike, moving the volume by a patch would only move the maps."""
    ours = encoder()
    x = volumes((6, 16, 40), batch=1)
    moved = x.roll(8, 4)
    expected = ours.forward_features(x)[-1].roll(1, 4)
    assert not torch.allclose(ours.forward_features(moved)[-1], expected, atol=1e-2)
    ours.network.patch_embedding.position_embeddings.fill_(0.3)
    expected = ours.forward_features(x)[-1].roll(1, 4)
    torch.testing.assert_close(ours.forward_features(moved)[-1], expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def mask():
    """Of the twelve patches of each volume, eight are hidden, not the same ones."""
    generator = torch.Generator().manual_seed(2)
    return torch.rand(2, 12, generator=generator).argsort(dim=1) < 8


def scramble_hidden(x, mask):
    hidden = mask.reshape(2, 1, 2, 3, 2)
    for axis, by in enumerate(PATCH):
        hidden = hidden.repeat_interleave(by, axis + 2)
    return torch.where(hidden, 100 * torch.randn_like(x), x)


@torch.no_grad()
@pytest.mark.parametrize("mask_token", [None, torch.full((24,), 0.5)], ids=["dropped", "replaced"])
@pytest.mark.parametrize("pooling", ["avg", "cls"])
def test_hidden_patches_are_not_seen(mask, mask_token, pooling):
    ours = encoder(pooling=pooling)
    tokens = ours.forward_tokens(volumes(), mask, mask_token)
    scrambled = ours.forward_tokens(scramble_hidden(volumes(), mask), mask, mask_token)
    torch.testing.assert_close(scrambled, tokens)
    patches = 4 if mask_token is None else 12
    assert tokens.shape == (2, patches + (pooling == "cls"), 24)
    seen = ours.forward_tokens(scramble_hidden(volumes(), ~mask), mask, mask_token)
    assert not torch.allclose(seen, tokens, atol=1e-2)


@torch.no_grad()
def test_dropped_patches_are_as_if_the_rest_were_all(mask):
    """Tokens that are kept are in their order, with their own positions."""
    ours = encoder()
    last_patches = torch.arange(12).expand(2, 12) < 6
    network = ours.network
    tokens = network.patch_embedding(volumes())[:, 6:]
    for block in network.blocks:
        tokens = block(tokens)
    expected = network.norm(tokens)
    torch.testing.assert_close(ours.forward_tokens(volumes(), last_patches), expected)


@torch.no_grad()
def test_replaced_patches_keep_their_positions(mask):
    ours = encoder()
    tokens = ours.forward_tokens(volumes(), torch.ones_like(mask), torch.zeros(24))
    assert not torch.allclose(tokens[:, 0], tokens[:, 1], atol=1e-3)
    nothing_hidden = ours.forward_tokens(volumes(), torch.zeros_like(mask), torch.zeros(24))
    torch.testing.assert_close(nothing_hidden, ours.forward_tokens(volumes()))


def test_mask_token_learns(mask):
    token = torch.zeros(24, requires_grad=True)
    encoder().forward_tokens(volumes(), mask, token).square().mean().backward()
    assert token.grad.any()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(2, 11, dtype=torch.bool), r"\(batch, patches\) = \(2, 12\), got .*\(2, 11\)"),
        (torch.zeros(2, 12), r"mask must be boolean .*, got torch.float32"),
        (torch.arange(24).reshape(2, 12) < 3, r"equally many patches, .*; rows keep \[9, 12\]"),
        (torch.ones(2, 12, dtype=torch.bool), r"at least one; rows keep \[0\]"),
    ],
)
def test_refuses_masks_that_do_not_fit(mask, message):
    with pytest.raises(ValueError, match=message):
        encoder().forward_tokens(volumes(), mask)


def test_refuses_a_mask_token_without_a_mask():
    with pytest.raises(ValueError, match="mask_token needs a mask"):
        encoder().forward_tokens(volumes(), mask_token=torch.zeros(24))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.1}, "tokens that 4 heads can share, got 2 channels"),
        ({"width": float("inf")}, "width must leave at least one of 24 channels .*, got inf"),
        ({"layers": 3}, "layers must be at least 4, got 3"),
        ({"patch_size": (0, 8, 8)}, r"patch_size must be a whole .* or three .*, got \(0, 8, 8\)"),
        ({"native_size": (4, 24)}, r"native_size must be .* three of them .*, got \(4, 24\)"),
        ({"native_size": (4, 24, 20)}, r"multiple of patch_size \(2, 8, 8\) .*, got \(4, 24, 20\)"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        encoder(**options)


def test_refuses_volumes_that_patches_do_not_fill():
    with pytest.raises(ValueError, match=r"nearest right shape is \(2, 1, 4, 24, 16\)"):
        encoder()(torch.zeros(2, 1, 4, 25, 16))
