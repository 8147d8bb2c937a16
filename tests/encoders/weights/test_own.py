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


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        (
            {},
            ValueError,
            r"path must be that of a file, got dict: .*or give them to encoder\.load_st",
        ),
        ("gone", FileNotFoundError, "there is no gone: expected .*, or a folder with one; check"),
    ],
)
def test_weights_that_are_not_there_are_told(path, error, told):
    with pytest.raises(error, match=told):
        load_weights(create_image_encoder("resnet10", embed_dim=8, width=1 / 16), path)


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


def vit(native_size, **options):
    options |= {"patch_size": (4, 8, 8), "native_size": native_size, "layers": 4, "width": 1 / 8}
    return create_image_encoder("vit_small", embed_dim=6, **options).eval()


def test_a_saved_encoder_tells_the_grid_of_its_positions(tmp_path):
    """36 patches, no cube, into as many of another grid: along height, four become six."""
    trained, encoder = vit((12, 32, 24)), vit((12, 48, 16))
    trained.save_pretrained(tmp_path / "saved")
    report = load_weights(encoder, tmp_path / "saved" / "model.safetensors")
    assert list(report.adapted.values()) == ["positions of (3, 4, 3) patches to (3, 6, 2)"]
    same = vit((12, 32, 24))
    assert load_weights(same, tmp_path / "saved" / "model.safetensors").adapted == {}
    assert torch.equal(
        same.network.patch_embedding.position_embeddings,
        trained.network.patch_embedding.position_embeddings,
    )


def test_positions_of_a_state_dict_that_tells_no_grid_stay_as_they_are(save):
    trained, encoder = vit((8, 32, 64)), vit((8, 32, 64))  # 64 patches could be a cube
    assert load_weights(encoder, save(trained.state_dict())).adapted == {}


@pytest.mark.parametrize("grid", ["no JSON", "3", "[3, 4]", "[3, 4, 3.5]", '"abc"', "[0, 4, 3]"])
def test_a_damaged_grid_is_told(save, grid):
    with pytest.raises(ValueError, match="the header's grid must be three counts of patches"):
        load_weights(small(), save(small().state_dict(), grid=grid))


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
