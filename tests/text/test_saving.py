"""Text encoders from a folder: the same to the last bit."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from selip_core.text import Chunking, Lora, TextEncoder

TEXTS = ["acute infarct in the left frontal lobe .", "no lesion .", ""]


def require_same(ours, theirs):
    """Require the same tensors and the same embeddings, bit by bit."""
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    with torch.no_grad():
        assert torch.equal(ours(TEXTS), theirs.eval()(TEXTS))


def test_round_trip_is_exact(make_model, family, tmp_path):
    encoder = TextEncoder(make_model(family), embed_dim=6)
    encoder.save_pretrained(tmp_path / "encoder")
    again = TextEncoder.from_pretrained(tmp_path / "encoder")
    assert again.pooling == encoder.pooling
    assert again.max_length == encoder.max_length
    require_same(again, encoder)


def test_settings_come_back(make_model, tmp_path):
    encoder = TextEncoder(
        make_model("bert"),
        embed_dim=6,
        pooling="mean",
        max_length=7,
        lora=Lora(rank=2, target_modules=("query", "key")),
        chunking=Chunking(overlap=1, max_chunks=3),
    )
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora" in name:
                parameter.normal_()  # or the adapters would add nothing
    encoder.save_pretrained(tmp_path / "encoder")
    again = TextEncoder.from_pretrained(tmp_path / "encoder")
    assert (again.pooling, again.max_length) == ("mean", 7)
    assert again.lora == encoder.lora
    assert again.tokenize.chunking == encoder.tokenize.chunking
    learning = [name for name, value in encoder.named_parameters() if value.requires_grad]
    assert learning == [name for name, value in again.named_parameters() if value.requires_grad]
    require_same(again, encoder)


def test_a_frozen_backbone_stays_frozen(make_model, tmp_path):
    encoder = TextEncoder(make_model("bert"), frozen=True)
    encoder.save_pretrained(tmp_path / "encoder")
    again = TextEncoder.from_pretrained(tmp_path / "encoder")
    assert again.frozen
    assert not any(parameter.requires_grad for parameter in again.backbone.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_what_auto_came_to_stays_whoever_trains_it(make_model, tmp_path, frozen):
    encoder = TextEncoder(make_model("bert"), embed_dim=6, frozen=frozen)
    encoder.save_pretrained(tmp_path / "encoder")
    again = TextEncoder.from_pretrained(tmp_path / "encoder")
    assert again.pooling == encoder.pooling == ("mean" if frozen else "cls")
    require_same(again, encoder)
    encoder.save_architecture(tmp_path)
    other = TextEncoder(tmp_path, frozen=not frozen, pretrained=False)
    assert other.pooling == encoder.pooling


def test_merged_adapters_are_saved_as_weights(make_model, tmp_path):
    encoder = TextEncoder(make_model("bert"), lora=Lora(rank=2)).merge_lora()
    encoder.save_pretrained(tmp_path / "encoder")
    again = TextEncoder.from_pretrained(tmp_path / "encoder")
    assert again.lora is None
    require_same(again, encoder)


def test_half_precision_is_kept_with_buffers_that_are_not_saved(make_model, tmp_path):
    encoder = TextEncoder(make_model("llama"), embed_dim=6).bfloat16()
    encoder.save_pretrained(tmp_path / "encoder")
    again = TextEncoder.from_pretrained(tmp_path / "encoder")
    assert again.projection.weight.dtype == torch.bfloat16
    buffers = dict(again.named_buffers())
    for name, buffer in encoder.named_buffers():
        assert buffers[name].dtype == buffer.dtype
        assert torch.equal(buffers[name], buffer)
    require_same(again, encoder)


def test_a_name_of_the_hub_is_kept_and_a_path_is_not(make_model, tmp_path):
    encoder = TextEncoder(make_model("bert"))
    encoder.save_pretrained(tmp_path / "path")
    encoder.name = encoder.name_on_hub = "owner/bert"  # as if it had come from there
    encoder.save_pretrained(tmp_path / "name")
    names = {}
    for folder in ("path", "name"):
        config = json.loads((tmp_path / folder / "config.json").read_text())
        names[folder] = config["model"]["name"]
    assert names == {"path": None, "name": "owner/bert"}
    again = TextEncoder.from_pretrained(tmp_path / "name")
    assert again.name == again.name_on_hub == "owner/bert"
    started = "Weights it started from | {} (its licence is not known here)"
    told = {folder: (tmp_path / folder / "README.md").read_text() for folder in names}
    assert started.format("owner/bert") + ", https://huggingface.co/owner/bert" in told["name"]
    assert started.format("text model of a folder") in told["path"]


def test_a_backbone_that_started_from_random_weights_stays_known_as_such(make_model, tmp_path):
    TextEncoder(make_model("bert"), pretrained=False).save_pretrained(tmp_path / "random")
    TextEncoder.from_pretrained(tmp_path / "random").save_pretrained(tmp_path / "again")
    for folder in ("random", "again"):
        page = (tmp_path / folder / "README.md").read_text()
        assert "Weights it started from | random, or not known" in page


def test_a_folder_that_is_gone_is_no_name_of_the_hub(make_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(make_model("bert"), "models/bert")
    encoder = TextEncoder("models/bert")
    shutil.rmtree("models")
    encoder.save_pretrained("encoder")
    config = json.loads(Path("encoder/config.json").read_text())
    assert config["model"]["name"] is None
    assert "models/bert" not in Path("encoder/README.md").read_text()


def test_no_file_tells_of_the_machine(make_model, tmp_path):
    source = make_model("bert")
    TextEncoder(source).save_pretrained(tmp_path / "encoder")
    for file in (tmp_path / "encoder").rglob("*"):
        if file.is_file():
            assert os.fspath(source).encode() not in file.read_bytes(), file.name


def test_a_missing_tokenizer_is_told(make_model, tmp_path):
    TextEncoder(make_model("bert")).save_pretrained(tmp_path / "encoder")
    (tmp_path / "encoder" / "text_encoder").rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"no text encoder can be loaded from .*text_encoder'"):
        TextEncoder.from_pretrained(tmp_path / "encoder")
