import pytest
import torch

from selip_core.encoders import MedNeXtEncoder


@torch.no_grad()
def test_maps_are_those_that_monais_decoder_reads():
    mednext = pytest.importorskip("monai.networks.nets.mednext")
    ours = MedNeXtEncoder("small").eval()
    theirs = mednext.MedNeXtSmall(in_channels=1).eval()
    found = theirs.load_state_dict(ours.network.state_dict(), strict=False)
    assert found.unexpected_keys == []
    assert all(key.startswith(("up_", "dec_", "out_")) for key in found.missing_keys)
    expected = []
    for stage in (*theirs.enc_stages, theirs.bottleneck):
        stage.register_forward_hook(lambda module, inputs, output: expected.append(output))
    x = torch.randn(1, 1, 16, 32, 32)
    theirs(x)
    for mine, yours in zip(ours.forward_features(x), expected, strict=True):
        torch.testing.assert_close(mine, yours)


def test_larger_variants_and_kernels_have_more_parameters():
    with torch.device("meta"):
        small, base, medium, large = (
            MedNeXtEncoder(variant).spec.parameter_count
            for variant in ("small", "base", "medium", "large")
        )
        wide = MedNeXtEncoder("small", kernel_size=5).spec.parameter_count
    assert small < base < medium < large
    assert small < wide


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "tiny"}, r"variant must be one of \['small', .*\], got 'tiny'"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        MedNeXtEncoder(**({"variant": "small"} | options))
