"""The formats as a whole: which one a file has, and what is known of each."""

import pytest
import torch

from selip_core.encoders import ResNetEncoder, list_image_encoders, registry
from selip_core.encoders.weights import WEIGHT_FORMATS, load_weights

every_format = pytest.mark.parametrize("name", WEIGHT_FORMATS)


def small():
    return ResNetEncoder(10, embed_dim=6, width=1 / 16)


@every_format
def test_tells_what_it_is(name):
    layout = WEIGHT_FORMATS[name]
    assert layout.name == layout.source.name == name
    assert layout.encoders
    assert layout.source.licence
    assert layout.source.url.startswith("https://") or "not told" in layout.source.licence


def test_encoders_name_formats_that_there_are():
    for name in list_image_encoders(pretrained=True):
        if not name.startswith("slicewise"):  # timm itself loads their weights
            assert set(registry.published_weights(name)) <= WEIGHT_FORMATS.keys()


def test_unknown_names_are_shown(save):
    with pytest.raises(ValueError, match=r"of no known format, such as \['other', 'some'\]"):
        load_weights(small(), save({"some": torch.ones(1), "other": torch.ones(1)}))


def test_names_of_two_formats_are_ambiguous(save):
    tensors = small().state_dict() | {"module.conv1.weight": torch.ones(1)}
    tensors |= {"module.layer1.0.conv1.weight": torch.ones(1)}
    with pytest.raises(ValueError, match=r"formats \['medicalnet', 'selip'\]; name the one"):
        load_weights(small(), save(tensors))
    assert load_weights(small(), save(tensors), format="selip").format == "selip"


def test_an_unknown_format_is_refused(save):
    path = save(small().state_dict())
    told = "no format of weights is named '{}'; {}"
    with pytest.raises(ValueError, match=told.format("medical-net", "did you mean 'medicalnet'")):
        load_weights(small(), path, format="medical-net")
    with pytest.raises(ValueError, match=told.format("numpy", "there are auto, medicalnet, brain")):
        load_weights(small(), path, format="numpy")


def test_a_format_that_is_another_fits_nothing(save):
    path = save(small().state_dict())
    with pytest.raises(ValueError, match="another kind of network than the format openmind is for"):
        load_weights(small(), path, format="openmind")


def test_two_networks_in_one_file_are_told(save):
    tensors = small().state_dict()
    both = tensors | {f"image_encoder.{name}": tensor for name, tensor in tensors.items()}
    with pytest.raises(ValueError, match=r"two tensors of the file belong to network.bn1.bias"):
        load_weights(small(), save(both))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match="minimum_share must be from 0 to 1, got"):
        load_weights(small(), "nowhere.safetensors", minimum_share=share)
