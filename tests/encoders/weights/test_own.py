"""What this library saved, wrapped as programs wrap it."""

import pytest
import torch

from selip_core.encoders import ResNetEncoder, StudyEncoder, create_image_encoder
from selip_core.encoders.weights import load_weights


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def small(embed_dim=6, **options):
    return ResNetEncoder(10, embed_dim=embed_dim, width=1 / 16, **options).eval()


@pytest.mark.parametrize(
    "prefix",
    ["", "image_encoder.", "module.", "_orig_mod.", "module._orig_mod.image_encoder.", "model."],
)
def test_comes_back_bit_by_bit(save, prefix):
    trained, encoder = small(), small()
    rest = {"text_encoder.projection.weight": torch.zeros(2, 2), "log_logit_scale": torch.zeros(1)}
    report = load_weights(encoder, save(under(prefix, trained.state_dict()) | rest))
    assert (report.format, report.share, report.pooling_loaded) == ("selip", 1.0, True)
    assert report.ignored == 2
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, trained.state_dict()[name], rtol=0, atol=0)


def test_a_study_encoder_gives_the_encoder_that_it_wraps(save):
    torch.manual_seed(0)
    study = StudyEncoder(small(embed_dim=8), sequences=("T1", "T2"))
    encoder = small(embed_dim=8)
    report = load_weights(encoder, save(under("image_encoder.", study.state_dict())))
    assert (report.format, report.share, report.used_share) == ("selip", 1.0, 1.0)
    assert "image_encoder.study_token" in report.unmatched_file
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, study.image_encoder.state_dict()[name], rtol=0, atol=0)


def test_a_pooling_of_another_size_stays_and_does_not_count(save):
    encoder = small(embed_dim=3)
    before = encoder.pooling.projection.weight.clone()
    report = load_weights(encoder, save(small().state_dict()))
    assert (report.share, report.used_share) == (1.0, 1.0)
    torch.testing.assert_close(encoder.pooling.projection.weight, before, rtol=0, atol=0)
    assert report.mismatched["pooling.projection.weight"] == ((6, 32), (3, 32))
    assert "as it was" in str(report)


@pytest.mark.parametrize("name", ["resnet10", "resenc_unet", "vit_small"])
def test_what_an_encoder_saved_comes_back_into_another_number_of_channels(tmp_path, name):
    if name == "resenc_unet":  # knows its layers by two names each, of which one is saved
        pytest.importorskip("dynamic_network_architectures")
    torch.manual_seed(0)
    trained = create_image_encoder(name, embed_dim=6, width=1 / 8).eval()
    trained.save_pretrained(tmp_path / "saved")
    encoder = create_image_encoder(name, in_channels=2, embed_dim=6, width=1 / 8).eval()
    report = load_weights(encoder, tmp_path / "saved" / "model.safetensors")
    assert (report.format, report.share, report.used_share) == ("selip", 1.0, 1.0)
    assert (len(report.adapted), report.unmatched_file) == (1, ())
    x = torch.randn(1, 1, 32, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x.expand(-1, 2, -1, -1, -1)), trained(x))
