import pytest
import torch

from selip_core.encoders import ResNetEncoder
from selip_core.encoders.resnet_network import ZeroPaddedShortcut


@pytest.fixture(scope="module")
def monai_resnet():
    return pytest.importorskip("monai.networks.nets.resnet")


def test_is_monais_network_behind_another_stem(monai_resnet):
    encoder = ResNetEncoder(18, stem="cubic", width=1 / 16).eval()
    theirs = monai_resnet.resnet18(
        n_input_channels=1,
        conv1_t_size=3,
        conv1_t_stride=2,
        widen_factor=1 / 16,
        bias_downsample=False,
        num_classes=512,
    ).eval()
    theirs.load_state_dict(
        encoder.network.state_dict()
        | {f"fc.{k}": v for k, v in encoder.pooling.projection.state_dict().items()}
    )
    x = torch.randn(2, 1, 33, 40, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_paper_stem_halves_the_plane_and_keeps_the_slices():
    encoder = ResNetEncoder(10, width=1 / 16)
    conv, pool = encoder.network.conv1, encoder.network.maxpool
    assert (conv.kernel_size, conv.stride) == ((7, 7, 7), (1, 2, 2))
    assert (pool.kernel_size, pool.stride) == ((1, 3, 3), (1, 2, 2))
    assert encoder.spec.stage_strides == (
        (1, 2, 2),
        (1, 4, 4),
        (2, 8, 8),
        (4, 16, 16),
        (8, 32, 32),
    )


@pytest.mark.parametrize("stem", ["paper", "cubic", "medicalnet"])
@pytest.mark.parametrize("axis", [0, 2])
def test_strides_are_steps_in_the_input(stem, axis):
    """Moving a volume by one stride moves the map by one voxel, away from the border."""
    encoder = ResNetEncoder(10, stem=stem, width=1 / 16).eval()
    stage, size = 1, [32, 32, 32]
    step = encoder.spec.stage_strides[stage][axis]
    size[axis] += 32
    x = torch.zeros(1, 1, *size)
    x.narrow(axis + 2, 30, 4).normal_()
    with torch.no_grad():
        here = encoder.forward_features(x)[stage]
        moved = encoder.forward_features(x.roll(step, axis + 2))[stage]
    start = 30 // step - 2
    expected = here.narrow(axis + 2, start, 6)
    assert expected.std() > 0.01
    torch.testing.assert_close(moved.narrow(axis + 2, start + 1, 6), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "millions"), [(1.0, 14), (0.25, 0.9)])
def test_width_has_the_parameters_that_the_docstring_tells(width, millions):
    encoder = ResNetEncoder(10, width=width)
    parameters = sum(p.numel() for p in encoder.network.parameters())
    assert parameters / 1e6 == pytest.approx(millions, rel=0.05)
    assert encoder.spec.stage_channels[-1] == 512 * width


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 11}, r"depth must be one of \(10, 18, .*\), got 11"),
        ({"stem": "round"}, r"stem must be one of \['cubic', .*'paper'\], got 'round'"),
        ({"width": 0.001}, "width must leave at least one of 64 channels .*, got 0.001"),
        ({"width": float("inf")}, "width must leave .*, got inf"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        ResNetEncoder(**({"depth": 10} | options))


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_fewer_stages_leave_the_pyramid_that_is_left_as_it_was(stages):
    torch.manual_seed(0)
    whole = ResNetEncoder(10, stem="cubic", width=1 / 16).eval()
    part = ResNetEncoder(10, stem="cubic", stages=stages, width=1 / 16).eval()
    kept = part.network.state_dict()
    part.network.load_state_dict({k: v for k, v in whole.network.state_dict().items() if k in kept})
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        for ours, theirs in zip(
            part.forward_features(x), whole.forward_features(x)[: stages + 1], strict=True
        ):
            torch.testing.assert_close(ours, theirs)
    assert part.spec.stage_strides == whole.spec.stage_strides[: stages + 1]
    assert part.spec.stage_channels == whole.spec.stage_channels[: stages + 1]
    assert all(f"layer{stages + 1}" not in name for name in kept)


@pytest.mark.parametrize("stem", ["paper", "cubic"])
def test_no_axis_of_the_smallest_volume_is_empty(stem):
    with torch.device("meta"):
        encoder = ResNetEncoder(10, stem=stem, stages=1, width=1 / 16)
    assert encoder.spec.minimum_size == {"paper": (1, 2, 2), "cubic": (2, 2, 2)}[stem]
    with pytest.raises(ValueError, match="nearest right shape is"):
        encoder(torch.zeros(1, 1, 0, 4, 4))


def test_number_of_stages_is_checked():
    with pytest.raises(ValueError, match="stages must be 1, 2, 3 or 4, got 5"):
        ResNetEncoder(10, stages=5)


@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_medicalnets_weights_have_a_place_each(monai_resnet, depth):
    bias, shortcut = monai_resnet.get_medicalnet_pretrained_resnet_args(depth)
    with torch.device("meta"):
        published = getattr(monai_resnet, f"resnet{depth}")(
            n_input_channels=1,
            conv1_t_stride=2,
            shortcut_type=shortcut,
            bias_downsample=bias,
            feed_forward=False,
        )
        ours = ResNetEncoder(depth, stem="medicalnet")
    shapes = {key: value.shape for key, value in published.state_dict().items()}
    assert {key: value.shape for key, value in ours.network.state_dict().items()} == shapes


@pytest.mark.parametrize("depth", [18, 50])
def test_strided_medicalnet_is_what_monai_makes_of_its_weights(monai_resnet, depth):
    _, shortcut = monai_resnet.get_medicalnet_pretrained_resnet_args(depth)
    ours = ResNetEncoder(depth, stem="medicalnet_strided", width=1 / 16).eval()
    theirs = getattr(monai_resnet, f"resnet{depth}")(
        n_input_channels=1,
        conv1_t_stride=2,
        shortcut_type=shortcut,
        bias_downsample=False,
        widen_factor=1 / 16,
        num_classes=512,
    ).eval()
    projection = ours.pooling.projection.state_dict()
    theirs.load_state_dict(
        ours.network.state_dict() | {f"fc.{key}": value for key, value in projection.items()}
    )
    x = torch.randn(2, 1, 33, 40, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [18, 50])
def test_medicalnet_dilates_instead_of_striding(depth):
    encoder = ResNetEncoder(depth, stem="medicalnet", width=1 / 16)
    assert encoder.spec.stage_strides[-3:] == ((8, 8, 8),) * 3
    for stage, dilation in (("layer2", 1), ("layer3", 2), ("layer4", 4)):
        wide = [
            module
            for module in encoder.network.get_submodule(stage).modules()
            if isinstance(module, torch.nn.Conv3d) and module.kernel_size == (3, 3, 3)
        ]
        assert {module.dilation for module in wide} == {(dilation,) * 3}


def test_zero_padded_shortcut_takes_every_second_voxel_and_passes_the_gradient():
    shortcut = ZeroPaddedShortcut(channels=3, stride=2)
    x = torch.arange(54.0).reshape(1, 2, 3, 3, 3).requires_grad_()
    out = shortcut(x)
    assert out.shape == (1, 3, 2, 2, 2)
    assert out[0, 0].flatten().tolist() == [0, 2, 6, 8, 18, 20, 24, 26]
    assert not out[0, 2].any()
    out.sum().backward()
    assert x.grad.sum() == 16
