"""What every registered image encoder must do, isotropic volumes or few thick slices."""

import pytest
import torch

from selip_core.encoders import create_image_encoder, list_image_encoders

ISOTROPIC = (17, 33, 32)
ANISOTROPIC = (5, 49, 32)

every_encoder = pytest.mark.parametrize("name", list_image_encoders())
# The deepest ones run the same code with more blocks, for longer.
every_family = pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])
both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def volumes(size, batch=2, channels=1):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


@every_encoder
def test_default_size_says_what_it_gives(name):
    with torch.device("meta"):
        encoder = create_image_encoder(name, in_channels=2)
        embedding = encoder(torch.empty(3, 2, *encoder.spec.minimum_size))
    assert encoder.spec.in_channels == 2
    assert embedding.shape == (3, encoder.embed_dim) == (3, 512)


@every_encoder
@pytest.mark.parametrize("size", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
def test_pyramid_is_as_its_spec_says(create_small, name, size):
    encoder = create_small(name).to("meta")
    maps = encoder.forward_features(torch.empty(2, 1, *size, device="meta"))
    assert [m.shape[1] for m in maps] == list(encoder.spec.stage_channels)
    assert [tuple(m.shape[2:]) for m in maps] == encoder.spec.stage_sizes(size)


@every_family
@both_modes
@pytest.mark.parametrize("pooling", ["avg", "grid"])
@pytest.mark.parametrize("size", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
def test_embeds(create_small, name, pooling, size, training):
    encoder = create_small(name, pooling=pooling).train(training)
    embedding = encoder(volumes(size))
    assert embedding.shape == (2, encoder.embed_dim)
    assert embedding.isfinite().all()


@every_family
@both_modes
def test_gradients_reach_every_parameter(create_small, name, training):
    encoder = create_small(name).train(training)
    encoder(volumes(ISOTROPIC)).square().sum().backward()
    without = [key for key, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@every_family
def test_eval_is_deterministic_and_each_volume_stands_alone(create_small, name):
    encoder = create_small(name).eval()
    x = volumes(ISOTROPIC, batch=3)
    with torch.no_grad():
        together = encoder(x)
        torch.testing.assert_close(encoder(x), together, rtol=0, atol=0)
        alone = torch.cat([encoder(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1])


@every_family
def test_state_dict_round_trip(create_small, name):
    trained = create_small(name)
    trained(volumes(ISOTROPIC))  # moves the running statistics
    fresh = create_small(name)
    fresh.load_state_dict(trained.state_dict())
    x = volumes(ISOTROPIC)
    with torch.no_grad():
        torch.testing.assert_close(fresh.eval()(x), trained.eval()(x), rtol=0, atol=0)


@every_family
def test_refuses_what_its_spec_forbids(create_small, name):
    encoder = create_small(name)
    with pytest.raises(ValueError, match=r"nearest right shape is \(2, 1, 17, 33, 32\)"):
        encoder(volumes(ISOTROPIC, channels=3))
    with pytest.raises(ValueError, match=r"volumes must have shape \(batch, 1, depth"):
        encoder.forward_features(torch.zeros(1, 1, 1, 1, 1))
