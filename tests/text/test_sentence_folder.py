"""What sentence-transformers says beside a model decides pooling, length and case."""

import json
import shutil

import pytest
import torch

from selip_core.text import TextEncoder

PACKAGES = ["sentence_transformers.models", "sentence_transformers.base.modules.any"]
TEXTS = ["no lesion .", "acute infarct in the left frontal lobe ."]


@pytest.fixture
def make_folder(tiny_bert, tmp_path):
    """Copy the tiny BERT and put modules behind it."""

    def make(pooling, *further, transformer=None, package=PACKAGES[0]):
        folder = shutil.copytree(tiny_bert, tmp_path / "model")
        kinds = ["Transformer", "Pooling", *further]
        modules = [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{kind}" if i else "",
                "type": f"{package}.{kind}",
            }
            for i, kind in enumerate(kinds)
        ]
        (folder / "1_Pooling").mkdir()
        files = {"modules": modules, "1_Pooling/config": pooling}
        if transformer is not None:
            files["sentence_bert_config"] = transformer
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        return folder

    return make


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_max_tokens": False}, "last"),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 16}, "last"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode_cls_token": False}, "mean"),
    ],
)
def test_pooling_is_read_from_older_and_newer_folders(make_folder, config, pooling, package):
    folder = make_folder(config, "Normalize", package=package)
    assert TextEncoder(folder).pooling == pooling


@pytest.mark.parametrize(
    ("config", "further", "steps"),
    [
        ({"pooling_mode_max_tokens": True}, (), "max_tokens"),
        ({"pooling_mode": ["cls", "mean"]}, (), "cls, mean"),
        ({"pooling_mode": "mean"}, ("Dense", "Normalize"), "mean, Dense, Normalize"),
    ],
)
def test_refuses_what_it_cannot_do_alike_unless_told_what_to_do(
    make_folder, config, further, steps
):
    folder = make_folder(config, *further)
    with pytest.raises(ValueError, match=f"puts {steps} behind this model"):
        TextEncoder(folder)
    assert TextEncoder(folder, pooling="mean").pooling == "mean"


def test_length_is_a_default_up_to_the_positions(make_folder):
    folder = make_folder({"pooling_mode": "mean"}, transformer={"max_seq_length": 9})
    assert TextEncoder(folder).max_length == 9
    assert TextEncoder(folder, max_length=32).max_length == 32


def test_lower_case_is_read_and_kept(make_folder, tiny_bert, tmp_path):
    def keep_case(folder):
        path = folder / "tokenizer.json"
        backend = json.loads(path.read_text())
        backend["normalizer"]["lowercase"] = False
        path.write_text(json.dumps(backend))

    folder = make_folder({"pooling_mode": "mean"}, transformer={"do_lower_case": True})
    cased = shutil.copytree(tiny_bert, tmp_path / "cased")
    for each in (folder, cased):
        path = each / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": False}))
        keep_case(each)
    assert TextEncoder(cased).unknown_token_share(["LEFT lobe"]) == 0.5
    encoder = TextEncoder(folder)
    assert encoder.unknown_token_share(["LEFT lobe"]) == 0.0
    encoder.save_architecture(tmp_path / "saved")
    assert TextEncoder(tmp_path / "saved", pretrained=False).unknown_token_share(["LEFT"]) == 0.0


def test_what_is_saved_is_a_folder_of_sentence_transformers(make_model, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder = TextEncoder(make_model("bert"), pooling="last", max_length=8).eval()
    encoder.save_architecture(tmp_path)
    encoder.backbone.save_pretrained(tmp_path)
    with torch.no_grad(), pytest.warns(UserWarning, match="cut off"):
        pooled = encoder.pooled(encoder.tokenize(TEXTS))
    reference = SentenceTransformer(str(tmp_path), device="cpu")
    torch.testing.assert_close(
        pooled, reference.encode(TEXTS, convert_to_tensor=True), rtol=1e-5, atol=1e-5
    )


def test_a_model_of_the_hub_is_read_from_its_cache(make_folder, tmp_path, monkeypatch):
    folder = make_folder({"pooling_mode": "mean"}, transformer={"max_seq_length": 9})
    cache = tmp_path / "cache" / "models--someone--tiny"
    shutil.copytree(folder, cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    encoder = TextEncoder("someone/tiny")
    assert (encoder.pooling, encoder.max_length) == ("mean", 9)


@pytest.mark.parametrize(
    "modules", [{}, [{}], [{"path": "1_Pooling"}], ["Pooling"], [{"type": None, "path": ""}]]
)
def test_modules_that_are_none_are_told(tiny_bert, tmp_path, modules):
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"modules.json of the model is not as .* writes it"):
        TextEncoder(folder)
