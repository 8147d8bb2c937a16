import pytest
import torch
from torch import nn

from selip_core.encoders import EfficientNetEncoder
from selip_core.encoders.efficientnet import SamePadding


@pytest.fixture
def theirs():
    """MONAI's network with padding for 224 voxels, which is right for 32 too."""
    efficientnet = pytest.importorskip("monai.networks.nets.efficientnet")
    return efficientnet.EfficientNetBNFeatures(
        "efficientnet-b0", pretrained=False, spatial_dims=3, in_channels=1
    ).eval()


@torch.no_grad()
def test_is_monais_network_at_sizes_that_it_pads_for(theirs):
    ours = EfficientNetEncoder("b0").eval()
    found = theirs.load_state_dict(ours.network.state_dict(), strict=False)
    assert found.unexpected_keys == []
    x = torch.randn(1, 1, 32, 64, 32)
    for mine, yours in zip(ours.forward_features(x), theirs(x), strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-4, atol=1e-5)


def test_padding_of_odd_sizes_is_not_monais(theirs):
    """The reason for a padding of our own."""
    with torch.device("meta"):
        ours = EfficientNetEncoder("b0")
    x = torch.empty(1, 1, 33, 35, 37, device="meta")
    sizes = ours.spec.stage_sizes((33, 35, 37))
    assert [tuple(m.shape[2:]) for m in ours.forward_features(x)] == sizes
    assert [tuple(m.shape[2:]) for m in theirs.to("meta")(x)] != sizes


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 9])
def test_padded_convolutions_round_up(kernel, stride, size):
    convolution = nn.Conv3d(1, 1, kernel, stride)
    padded = SamePadding(convolution)(torch.zeros(1, 1, size, size, size))
    assert convolution(padded).shape[2:] == (-(-size // stride),) * 3


def test_odd_padding_goes_to_the_end():
    convolution = nn.Conv3d(1, 1, kernel_size=(1, 1, 3), stride=(1, 1, 2))
    padded = SamePadding(convolution)(torch.ones(1, 1, 1, 1, 4))
    assert padded.flatten().tolist() == [1, 1, 1, 1, 0]


@torch.no_grad()
def test_depthwise_convolutions_start_with_the_variance_of_their_input():
    ours = EfficientNetEncoder("b0")
    for module in ours.network.modules():
        if isinstance(module, nn.Conv3d) and module.groups > 64:
            expected = (2 / module.weight[0].numel()) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)


def test_refuses_an_unknown_variant():
    with pytest.raises(ValueError, match=r"variant must be one of \['b0', .*\], got 'b9'"):
        EfficientNetEncoder("b9")


def test_stem_stride_may_be_one_number():
    with torch.device("meta"):
        assert EfficientNetEncoder("b0", stem_stride=1).spec.stage_strides[0] == (1, 1, 1)
    with pytest.raises(ValueError, match=r"stem_stride must be a whole .*, got \(1, 2\)"):
        EfficientNetEncoder("b0", stem_stride=(1, 2))
