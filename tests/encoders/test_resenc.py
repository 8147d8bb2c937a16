import pytest
import torch

from selip_core.encoders import ResEncUNetEncoder, create_image_encoder, list_image_encoders

THICK = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
PLANAR = ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))

needs_nnunet = pytest.mark.usefixtures("nnunet")


@pytest.fixture(scope="module")
def nnunet():
    return pytest.importorskip("dynamic_network_architectures.architectures.unet")


def planned(**options):
    return ResEncUNetEncoder(
        strides=THICK, kernel_sizes=PLANAR, n_blocks_per_stage=(1, 1, 2, 1), width=1 / 16, **options
    ).eval()


def planned_unet(nnunet):
    """The U-Net that nnU-Net would build from the same plan."""
    return nnunet.ResidualEncoderUNet(
        input_channels=1,
        n_stages=4,
        features_per_stage=[2, 4, 8, 16],
        conv_op=torch.nn.Conv3d,
        kernel_sizes=PLANAR,
        strides=THICK,
        n_blocks_per_stage=[1, 1, 2, 1],
        num_classes=2,
        n_conv_per_stage_decoder=[1, 1, 1],
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()


def test_takes_what_nnunet_trained_by_a_change_of_prefix(nnunet):
    encoder, unet = planned(), planned_unet(nnunet)
    theirs = {
        key.replace("encoder.", "network.", 1): value
        for key, value in unet.state_dict().items()
        if key.startswith("encoder.")
    }
    missing, unexpected = encoder.load_state_dict(theirs, strict=False)
    assert unexpected == []
    assert all(key.startswith("pooling.") for key in missing)
    x = torch.randn(1, 1, 6, 16, 24)
    with torch.no_grad():
        for ours, expected in zip(encoder.forward_features(x), unet.encoder(x), strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@needs_nnunet
def test_is_planned_for_few_thick_slices():
    encoder = planned()
    assert encoder.spec.stage_strides == ((1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8))
    assert encoder.network.stages[0].blocks[0].conv1.conv.kernel_size == (1, 3, 3)
    maps = encoder.forward_features(torch.zeros(1, 1, 5, 33, 27))
    assert [tuple(m.shape[2:]) for m in maps] == [(5, 33, 27), (5, 17, 14), (5, 9, 7), (3, 5, 4)]


@needs_nnunet
def test_voxels_that_do_not_divide_are_averaged_without_padding():
    encoder = planned()
    skip = encoder.network.stages[1].blocks[0].skip[0]
    x = torch.arange(5.0).expand(1, 1, 1, 2, 5)
    torch.testing.assert_close(skip(x).flatten(), torch.tensor([0.5, 2.5, 4.0]))
    torch.testing.assert_close(skip(x[..., :1]).flatten(), torch.tensor([0.0]))


@needs_nnunet
def test_default_is_the_encoder_of_the_preset():
    with torch.device("meta"):
        encoder = create_image_encoder("resenc_unet", embed_dim=512)
    assert encoder.spec.stage_channels == (32, 64, 128, 256, 320, 320)
    assert encoder.spec.stage_strides == tuple((2**i,) * 3 for i in range(6))
    assert [len(stage.blocks) for stage in encoder.network.stages] == [1, 3, 4, 6, 6, 6]
    in_network = sum(p.numel() for p in encoder.network.parameters())
    assert in_network / 1e6 == pytest.approx(90.3, abs=0.1)


@needs_nnunet
def test_a_seventh_stage_goes_on_as_nnunet_would():
    with torch.device("meta"):
        encoder = create_image_encoder("resenc_unet", strides=((1, 1, 1), *[(2, 2, 2)] * 6))
    assert encoder.spec.stage_channels == (32, 64, 128, 256, 320, 320, 320)
    assert [len(stage.blocks) for stage in encoder.network.stages] == [1, 3, 4, 6, 6, 6, 6]


@needs_nnunet
def test_one_number_stands_for_all_axes_of_a_stage():
    encoder = ResEncUNetEncoder(
        strides=(1, 2, (1, 2, 2)), kernel_sizes=(1, 3, (1, 3, 3)), width=0.1
    )
    assert encoder.spec.stage_strides == ((1, 1, 1), (2, 2, 2), (2, 4, 4))
    assert encoder.network.stages[1].blocks[0].conv1.conv.kernel_size == (3, 3, 3)


@needs_nnunet
def test_freezes_by_stage():
    encoder = planned().freeze(2)
    free = [name for name, p in encoder.named_parameters() if p.requires_grad]
    assert not any(name.startswith(("network.stem", "network.stages.0")) for name in free)
    assert any(name.startswith("network.stages.1") for name in free)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.01}, "width must leave at least one of 32 channels .*, got 0.01"),
        ({"n_blocks_per_stage": (1, 2)}, "one entry a stage, got .*'n_blocks_per_stage': 2"),
        ({"kernel_sizes": 2}, "kernel sizes must be odd"),
        ({"strides": ((1, 1), (2, 2))}, r"strides must be a whole .* three .*, got \(1, 1\)"),
        ({"strides": (1, 0)}, "strides must be a whole number of at least 1, .*, got 0"),
        ({"strides": ()}, "must have one entry a stage"),
        ({"strides": 2}, r"strides must have one entry a stage, each .*, got 2$"),
        ({"strides": (1, (1, 1, 1))}, r"strides must be above 1 at some stage, got \(1, \(1, 1, 1"),
        ({"n_blocks_per_stage": (1, 0, 1, 1, 1, 1)}, "n_blocks_per_stage must be .*, got 0"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        ResEncUNetEncoder(**options)


def test_without_the_package_it_is_listed_and_tells_what_to_install(hide_package):
    hide_package("dynamic_network_architectures")
    assert "resenc_unet" in list_image_encoders()
    with pytest.raises(ImportError, match=r'pip install "selip-core\[nnunet\]"'):
        create_image_encoder("resenc_unet")
