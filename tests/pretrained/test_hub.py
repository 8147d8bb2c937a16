"""Folders never touch the network; the hub is asked because a model of it was named."""

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from selip_core.pretrained.hub import hub_file, is_hub_name, local_folder


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Replace the hub; return what it was asked for, and what it gives."""
    calls = []

    def download(name, **options):
        calls.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def test_a_folder_is_taken_without_the_hub(asked, tmp_path, monkeypatch):
    (tmp_path / "owner" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_folder("owner/model").resolve() == tmp_path / "owner" / "model"
    assert asked == []


@pytest.mark.parametrize("offline", [True, False])
def test_a_name_is_asked_of_the_hub(asked, tmp_path, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert local_folder("owner/a-model.v1", revision="abc") == tmp_path
    ((name, options),) = asked
    assert (name, options["revision"]) == ("owner/a-model.v1", "abc")
    assert options["local_files_only"] is offline


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("config.json", True),
        ("text_encoder/tokenizer.json", True),
        ("model.safetensors", True),
        ("README.md", True),
        ("text_encoder/vocab.txt", True),
        ("merges.txt", True),
        ("text_encoder/sentencepiece.bpe.model", True),
        ("pytorch_model.bin", False),
        ("weights.model", False),
        ("lightning.model", False),
        ("patients.txt", False),
        ("modeling.py", False),
    ],
)
def test_only_what_a_saved_model_holds_is_downloaded(asked, file, expected):
    local_folder("owner/model")
    ((_, options),) = asked
    got = list(filter_repo_objects([file], allow_patterns=options["allow_patterns"]))
    assert got == [file] * expected


def test_one_file_of_a_model_is_asked_of_the_hub(monkeypatch, tmp_path):
    calls = []

    def download(name, file, **options):
        calls.append((name, file, options["revision"]))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert hub_file("timm/resnet18", "model.safetensors", "abc") == tmp_path / "model.safetensors"
    assert calls == [("timm/resnet18", "model.safetensors", "abc")]


def test_a_file_that_the_hub_does_not_give_is_told(monkeypatch):
    def refuse(*arguments, **options):
        raise LocalEntryNotFoundError("nothing")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(FileNotFoundError, match=r"the hub's model owner/m gave no a.safetensors"):
        hub_file("owner/m", "a.safetensors")


@pytest.mark.parametrize("name", ["model", "a/b/c", "/no/model", "../model", "./a/model"])
def test_a_path_is_never_asked_of_the_hub(asked, name):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        local_folder(name)
    assert asked == []


def test_a_path_object_is_a_folder(asked, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        local_folder(tmp_path / "model")
    assert asked == []


def test_a_folder_has_no_revision(tmp_path):
    with pytest.raises(ValueError, match="is a folder, which has no revision"):
        local_folder(tmp_path, revision="main")


def test_what_the_hub_does_not_give_is_told(monkeypatch):
    def refuse(*arguments, **options):
        raise LocalEntryNotFoundError("nothing")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"no folder owner/m, .* and HF_HUB_OFFLINE is set"):
        local_folder("owner/m")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/model", True),
        ("bert-base-chinese", True),
        ("here/model", False),
        ("a/b/model", False),
        ("/model", False),
        ("./model", False),
        ("../model", False),
        ("C:\\model", False),
    ],
)
def test_a_path_is_no_name_of_the_hub(tmp_path, monkeypatch, name, expected):
    (tmp_path / "here" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert is_hub_name(name) is expected
