import json

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from selip_core.recipes import PretrainConfig

WORDS = ("high", "signal", "in", "the", "left", "right", "frontal", "lobe", "pons", "no", "lesion")
SITES = ("frontal lobe", "pons", "thalamus")


@pytest.fixture(scope="session")
def make_text_encoder(tmp_path_factory):
    """Make a random BERT of two narrow layers that knows these words; return its folder."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    def make(words):
        folder = tmp_path_factory.mktemp("bert")
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
        (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
        tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32)
        tokenizer.save_pretrained(folder)
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        size = {"intermediate_size": 32, "max_position_embeddings": 32}
        config = BertConfig(**shape, **size, vocab_size=len(vocabulary))
        BertModel(config).save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture(scope="session")
def text_encoder(make_text_encoder):
    """A text encoder that knows the words of the manifest below."""
    return make_text_encoder([*WORDS, "."])


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    """Twenty studies of one or two sequences: noise of 16 voxels a side, a third of them normal."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    rows, reports, truth = [], [], []
    for number, split in enumerate(splits):
        site, side = SITES[number % 3], ("left", "right")[number % 2]
        normal = number % 3 == 2
        lesion = {"kind": "infarct", "site": site, "laterality": side, "volume_ml": 1 + number}
        lesions = [] if normal else [lesion | {"visible_in": ["T2"]}]
        truth.append({"study": f"s{number}", "lesions": lesions})
        for sequence in ("T2", "DWI")[: 1 + number % 2]:
            id = f"s{number}-{sequence}"
            volume = generator.normal(size=(16, 16, 16)).astype(np.float32)
            nib.save(nib.Nifti1Image(volume, np.diag([8, 8, 8, 1])), folder / f"{id}.nii.gz")
            rows.append(
                {"id": id, "study": f"s{number}", "patient": f"p{number}", "split": split}
                | {"sequence": sequence, "volume": f"{id}.nii.gz", "report": id}
            )
            finding = {"modality": sequence, "site": site, "laterality": side, "signal": "high"}
            text = "no lesion." if normal else f"high signal in the {side} {site}."
            finding["text"] = text
            findings = [] if normal else [finding]
            reports.append({"id": id, "findings": findings, "text": text, "normal": normal})
    for name, lines in (("manifest", rows), ("reports", reports), ("truth", truth)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return folder / "manifest.jsonl"


@pytest.fixture(scope="session")
def make_config(text_encoder):
    """Settings of a run of a second or two; sections are merged into these."""

    def make(**changes):
        values = {
            "embed_dim": 8,
            "epochs": 4,
            "data": {
                "spacing": (8, 8, 8),
                "size": (16, 16, 16),
                "batch_size": 6,
                "in_memory": True,
            },
            "image_encoder": {
                "name": "resnet10",
                "pooling": "avg",
                "options": {"width": 0.125, "stem": "cubic"},
            },
            "text_encoder": {"name": text_encoder},
            "objective": {"target": "identical"},
        }
        for key, value in changes.items():
            values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
        return PretrainConfig(**values)

    return make


@pytest.fixture
def weights():
    """Read the weights that a run left, by name."""
    return lambda run: load_file(run / "model" / "model.safetensors")


@pytest.fixture
def assert_same_weights():
    """Hold two sets of weights to the same bits."""

    def check(one, other):
        assert one.keys() == other.keys()
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name

    return check
