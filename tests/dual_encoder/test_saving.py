"""Dual encoders from a folder: the same to the last bit, with whichever parts."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from selip_core.dual_encoder import DualEncoder
from selip_core.encoders import (
    ImageEncoder,
    StudyEncoder,
    WeightsSource,
    collate_studies,
    create_image_encoder,
)
from selip_core.pretrained import ModelCard
from selip_core.text import TextEncoder

TEXTS = ["no lesion .", "lesion in the pons ."]
VOLUMES = torch.randn(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))


def require_same(ours, theirs, images=VOLUMES):
    with torch.no_grad():
        for value, expected in zip(ours(images, TEXTS), theirs(images, TEXTS), strict=True):
            assert torch.equal(value, expected)


def test_round_trip_is_exact_and_needs_nothing_beside_its_folder(make_dual, tiny_bert, tmp_path):
    source = shutil.copytree(tiny_bert, tmp_path / "source")
    model = make_dual()
    model.text_encoder = TextEncoder(source, embed_dim=8).eval()
    model.save_pretrained(tmp_path / "model")
    shutil.rmtree(source)
    again = DualEncoder.from_pretrained((tmp_path / "model").rename(tmp_path / "moved"))
    assert not again.training
    require_same(again, model)


def test_layout_and_type_are_kept(make_dual, tmp_path):
    model = make_dual().to(memory_format=torch.channels_last_3d)
    model.text_encoder.bfloat16()
    model.save_pretrained(tmp_path / "model")
    again = DualEncoder.from_pretrained(tmp_path / "model")
    state = again.state_dict()
    for name, value in model.state_dict().items():
        assert state[name].dtype == value.dtype
        assert state[name].stride() == value.stride()
    assert state["image_encoder.network.layer1.0.conv1.weight"].stride(1) == 1
    require_same(again, model)


def test_the_scale_and_its_settings_come_back(make_dual, tmp_path):
    model = make_dual(initial_logit_scale=5.0, maximum_logit_scale=7.0)
    model.log_logit_scale.requires_grad_(False)
    model.save_pretrained(tmp_path / "model")
    again = DualEncoder.from_pretrained(tmp_path / "model")
    assert torch.equal(again.log_logit_scale, model.log_logit_scale)
    assert not again.log_logit_scale.requires_grad
    assert again.maximum_logit_scale == 7.0


def test_a_folder_of_earlier_versions_has_a_scale_without_dimensions(make_dual, tmp_path):
    model = make_dual(initial_logit_scale=5.0)
    model.save_pretrained(tmp_path / "model")
    weights, config = (tmp_path / "model" / name for name in ("model.safetensors", "config.json"))
    with safe_open(weights, framework="pt") as file:
        facts = file.metadata()
    tensors = load_file(weights)
    tensors["log_logit_scale"] = tensors["log_logit_scale"].reshape(())
    save_file(tensors, weights, facts)
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    del settings["files"], settings["content_sha256"]
    config.write_text(json.dumps(settings | {"format": 1}), encoding="utf-8")
    again = DualEncoder.from_pretrained(tmp_path / "model")
    assert torch.equal(again.log_logit_scale, model.log_logit_scale)
    require_same(again, model)


def test_a_study_encoder_may_be_its_image_encoder(make_dual, tmp_path):
    inner = create_image_encoder("resnet10", embed_dim=8, stem="cubic", width=1 / 16)
    model = make_dual(StudyEncoder(inner, heads=2))
    model.save_pretrained(tmp_path / "model")
    batch = collate_studies([{"T1": VOLUMES[0], "T2": VOLUMES[1]}, {"SWI": VOLUMES[0]}])
    require_same(DualEncoder.from_pretrained(tmp_path / "model"), model, batch)


def test_its_parts_can_be_taken_alone(make_dual, tmp_path):
    model = make_dual()
    model.save_pretrained(tmp_path / "model")
    image_encoder = ImageEncoder.from_pretrained(tmp_path / "model")
    text_encoder = TextEncoder.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(image_encoder(VOLUMES), model.image_encoder(VOLUMES))
        assert torch.equal(text_encoder(TEXTS), model.text_encoder(TEXTS))


def test_the_image_encoder_is_taken_without_the_tokenizer(make_dual, tmp_path):
    make_dual().save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "text_encoder")
    assert ImageEncoder.from_pretrained(tmp_path / "model").embed_dim == 8
    with pytest.raises(OSError, match="no text encoder can be loaded from"):
        DualEncoder.from_pretrained(tmp_path / "model")


def test_card_tells_both_parts_and_inherits_licences(make_dual, tmp_path):
    model = make_dual()
    source = WeightsSource("medicalnet", "MIT", "https://github.com/Tencent/MedicalNet")
    model.image_encoder.spec = replace(model.image_encoder.spec, weights=source)
    model.save_pretrained(tmp_path / "model", ModelCard(title="Heads", languages=("en",)))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    for told in (
        "# Heads",
        "license: other",
        "resnet10",
        "BertModel",
        "14.29, at most 100",
        "- en",
    ):
        assert told in card


def test_a_part_of_the_users_own_is_refused_with_advice(make_dual, tmp_path):
    model = make_dual()
    model.text_encoder = nn.Linear(5, 8)
    with pytest.raises(
        ValueError, match=r"Linear cannot be saved by name: it is none of .*TextEnc"
    ):
        model.save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_subclass_is_refused_since_it_would_come_back_as_another(make_dual, tmp_path):
    class Mine(DualEncoder):
        pass

    model = make_dual()
    with pytest.raises(ValueError, match=r"Mine is a subclass of DualEncoder"):
        Mine(model.image_encoder, model.text_encoder).save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_card_tells_where_both_parts_started(make_dual, tmp_path):
    model = make_dual()
    source = WeightsSource("medicalnet", "MIT", "https://example.org")
    model.image_encoder.spec = replace(model.image_encoder.spec, weights=source)
    model.save_pretrained(tmp_path / "model")
    page = (tmp_path / "model" / "README.md").read_text()
    assert "medicalnet (MIT), https://example.org; text model of a folder (its lic" in page
    assert "Inherited from the weights it started from: MIT (medicalnet), its licence is" in page
    assert "license: other" in page
