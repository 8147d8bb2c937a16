import pytest
import torch

from selip_core.encoders import create_image_encoder
from selip_core.encoders.swin import SwinEncoder

SIZE = (33, 17, 20)  # multiples of nothing


def encoder(**options):
    torch.manual_seed(0)
    return SwinEncoder(12, embed_dim=6, **{"window": (2, 2, 2), "width": 0.25} | options).eval()


@torch.no_grad()
@pytest.mark.parametrize("use_v2", [False, True])
@pytest.mark.parametrize("patch_size", [(2, 2, 2), (1, 2, 2)])
def test_maps_are_those_that_swin_unetr_decodes(use_v2, patch_size):
    """The transformer inside a SwinUNETR, with the key rule ``swinViT.`` to ``network.``."""
    swin_unetr = pytest.importorskip("monai.networks.nets.swin_unetr")
    theirs = swin_unetr.SwinUNETR(
        1, 2, feature_size=12, window_size=(2, 2, 2), use_v2=use_v2, patch_size=patch_size
    ).swinViT.eval()
    ours = encoder(width=1, use_v2=use_v2, patch_size=patch_size)
    ours.network.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 1, 32, 32, 32)
    for mine, yours in zip(ours.forward_features(x), theirs(x), strict=True):
        torch.testing.assert_close(mine, yours)


@torch.no_grad()
def test_maps_are_normalised_over_their_channels():
    for features in encoder().forward_features(torch.randn(1, 1, *SIZE)):
        torch.testing.assert_close(
            features.mean(1), torch.zeros(1, *features.shape[2:]), atol=1e-5, rtol=0
        )


@torch.no_grad()
@pytest.mark.parametrize("use_v2", [False, True])
@pytest.mark.parametrize("patch_size", [(2, 2, 2), (1, 2, 2), (1, 4, 4)])
def test_every_size_has_the_maps_of_its_spec(use_v2, patch_size):
    ours = encoder(use_v2=use_v2, patch_size=patch_size).train()
    for size in ((65, 70, 68), ours.spec.nearest_size(ours.spec.minimum_size)):
        maps = ours.to("meta").forward_features(torch.empty(1, 1, *size, device="meta"))
        assert [tuple(m.shape[2:]) for m in maps] == ours.spec.stage_sizes(size)
        assert [m.shape[1] for m in maps] == list(ours.spec.stage_channels)


def test_smallest_volume_trains_with_convolutions_before_the_stages():
    ours = encoder(use_v2=True).train()
    ours(torch.randn(1, 1, *ours.spec.nearest_size(ours.spec.minimum_size))).sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_every_block_is_a_stage_of_its_own():
    ours = encoder(depths=(1, 3, 2, 1), use_v2=True)
    first, *blocks = ours.stages()
    assert len(blocks) == 1 + 3 + 2 + 1
    second = ours.network.layers2[0]
    assert first == [ours.network.patch_embed, ours.network.pos_drop]
    assert blocks[1:4] == [
        [ours.network.layers2c[0], second.blocks[0]],
        [second.blocks[1]],
        [second.blocks[2], second.downsample],
    ]


@torch.no_grad()
def test_far_voxels_are_padding_not_wrapped():
    """Windows are shifted cyclically; what they wrap around must stay masked."""
    ours = encoder(depths=(2, 1, 1, 1)).eval()
    x = torch.zeros(1, 1, 32, 16, 16)
    changed = x.clone()
    changed[:, :, -4:] = 5.0
    before, after = (ours.forward_features(volume)[1] for volume in (x, changed))
    torch.testing.assert_close(after[:, :, 0], before[:, :, 0])
    assert not torch.allclose(after[:, :, -1], before[:, :, -1])


@pytest.mark.parametrize(
    ("name", "channels"),
    [("tiny", 12), ("small", 24), ("base", 48), ("large", 96)],
)
def test_sizes_are_those_of_the_published_models(name, channels):
    with torch.device("meta"):
        named = create_image_encoder(f"swin_{name}")
    assert named.spec.stage_channels[0] == channels
    assert all(p.is_meta for p in named.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 1 / 3}, "heads of every stage can share, got 4 for 3"),
        ({"width": 0}, "width must leave at least one of 12 channels .*, got 0"),
        ({"width": float("nan")}, "width must leave .*, got nan"),
        ({"depths": (2, 2)}, r"must be of four stages, got \(2, 2\)"),
        ({"depths": (2, 0, 2, 2)}, "depths must be a whole number of at least 1, got 0"),
        ({"window": (2, 0, 2)}, r"window must be a whole .* or three .*, got \(2, 0, 2\)"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        encoder(**options)
