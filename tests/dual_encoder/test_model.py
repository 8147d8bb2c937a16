import math

import pytest
import torch
from torch import nn

from selip_core.dual_encoder import DualEncoder, DualEncoderOutput
from selip_core.encoders import StudyEncoder, create_image_encoder
from selip_core.text import TextEncoder


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DualEncoder(nn.Linear(6, 4), nn.Linear(5, 4))


def test_output_is_what_the_loss_takes(model):
    images, texts = torch.randn(3, 6), torch.randn(3, 5)
    output = model(images, texts)
    assert DualEncoderOutput._fields == ("image_features", "text_features", "logit_scale")
    torch.testing.assert_close(output.image_features, model.encode_image(images))
    torch.testing.assert_close(output.text_features, model.encode_text(texts))
    torch.testing.assert_close(output.logit_scale, model.logit_scale)


def test_features_have_unit_norm_and_the_direction_of_the_encoder(model):
    images = torch.randn(3, 6)
    raw = model.image_encoder(images)
    expected = raw / raw.square().sum(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(model.encode_image(images), expected)


def test_scale_starts_at_one_over_temperature(model):
    assert model.log_logit_scale.item() == pytest.approx(math.log(1 / 0.07), rel=1e-6)
    assert model.logit_scale.item() == pytest.approx(14.2857, rel=1e-5)


@pytest.mark.parametrize(("logarithm", "scale"), [(9.0, 100.0), (-1.0, 1.0), (2.0, math.exp(2))])
def test_scale_is_clamped_in_place(model, logarithm, scale):
    parameter = model.log_logit_scale
    with torch.no_grad():
        parameter.fill_(logarithm)
    model.clamp_logit_scale_()
    assert model.log_logit_scale is parameter
    assert model.logit_scale.item() == pytest.approx(scale, rel=1e-5)


def test_gradients_reach_both_encoders_and_the_scale(model):
    image_features, text_features, logit_scale = model(torch.randn(3, 6), torch.randn(3, 5))
    (logit_scale * image_features @ text_features.T).logsumexp(dim=1).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_normalises_in_float32_under_autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.image_encoder(torch.randn(3, 6)).dtype == torch.bfloat16
        output = model(torch.randn(3, 6), torch.randn(3, 5))
    assert {x.dtype for x in output} == {torch.float32}
    torch.testing.assert_close(output.image_features.norm(dim=1), torch.ones(3))


def test_float64_stays_float64(model):
    assert model.double().encode_image(torch.randn(3, 6).double()).dtype == torch.float64


def test_state_dict_round_trip(model):
    with torch.no_grad():
        model.log_logit_scale.fill_(1.5)
    other = DualEncoder(nn.Linear(6, 4), nn.Linear(5, 4))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.logit_scale, model.logit_scale, rtol=0, atol=0)


def test_scale_is_a_parameter_that_can_be_sharded_and_a_scalar_to_the_loss(model):
    assert model.log_logit_scale.shape == (1,)
    assert model.logit_scale.shape == ()
    assert model(torch.randn(3, 6), torch.randn(3, 5)).logit_scale.shape == ()


def test_state_dict_of_earlier_versions_has_a_scale_without_dimensions(model):
    state = {**model.state_dict(), "log_logit_scale": torch.tensor(1.5)}
    model.load_state_dict(state)
    assert model.log_logit_scale.tolist() == [1.5]
    assert state["log_logit_scale"].shape == ()


def test_refuses_encoders_of_different_length():
    image_encoder, text_encoder = nn.Linear(6, 4), nn.Linear(5, 3)
    image_encoder.embed_dim, text_encoder.embed_dim = 4, 3
    with pytest.raises(ValueError, match="same embed_dim, got 4 for images and 3 for texts"):
        DualEncoder(image_encoder, text_encoder)


@pytest.mark.parametrize("scale", [0.5, 101.0, float("nan")])
def test_refuses_an_initial_scale_outside_its_range(scale):
    with pytest.raises(ValueError, match=r"between 1 and maximum_logit_scale \(100\), got"):
        DualEncoder(nn.Identity(), nn.Identity(), initial_logit_scale=scale)


@pytest.fixture
def volumes_encoder():
    return create_image_encoder("resnet10", embed_dim=8, width=1 / 16)


def test_refuses_encoders_in_the_other_order(tiny_bert, volumes_encoder):
    texts = TextEncoder(tiny_bert, embed_dim=8)
    with pytest.raises(ValueError, match=r"comes first, .* got TextEncoder and ResNetEncoder"):
        DualEncoder(texts, volumes_encoder)
    with pytest.raises(ValueError, match=r"comes first, .* got TextEncoder and Identity"):
        DualEncoder(texts, nn.Identity())


def test_refuses_an_encoder_of_images_for_texts(volumes_encoder):
    for second in (volumes_encoder, StudyEncoder(volumes_encoder, sequences=["T1", "T2"])):
        with pytest.raises(ValueError, match=f"comes second, .* and {type(second).__name__}"):
            DualEncoder(nn.Identity(), second)
