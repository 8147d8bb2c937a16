import json
import multiprocessing
import os
import random
import signal
import threading

import nibabel
import numpy as np
import pytest
import torch
import tqdm.auto
from safetensors.torch import load_file

from selip_core.cli import main

CONTEXT = multiprocessing.get_context("fork")  # a forked run has imported everything already
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lesion", *map(str, range(6))]
SETTINGS = """
embed_dim = 8
epochs = 4
[data]
size = [16, 16, 16]
batch_size = 2
flip_probability = 0.5
[image_encoder]
name = "resnet10"
options = {width = 0.0625, stem = "cubic"}
[text_encoder]
name = "bert"
"""


def write_text_encoder(folder):
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder)
    layers = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"intermediate_size": 32, "max_position_embeddings": 16, "vocab_size": len(WORDS)}
    BertModel(BertConfig(**layers, **sizes)).save_pretrained(folder)


def write_data(folder):
    generator = np.random.default_rng(0)
    rows, reports = [], []
    for number in range(6):
        volume, name = generator.random((16, 16, 16), dtype=np.float32), str(number)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([4, 4, 4, 1])), folder / f"{name}.nii.gz")
        split = "train" if number < 4 else "validation"
        keys = dict.fromkeys(("id", "study", "patient", "report"), name)
        rows.append(keys | {"split": split, "sequence": "T2", "volume": f"{name}.nii.gz"})
        reports.append({"id": name, "text": f"lesion {name}", "findings": [{"site": f"s{name}"}]})
    for name, lines in (("manifest", rows), ("reports", reports)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)


def run(name, *options):
    files = ["--manifest", "manifest.jsonl", "--config", "settings.toml", "--out", name]
    return main(["pretrain", *files, *options])


def run_and_exit(*arguments):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as in a terminal
    for kind in (tqdm.std.tqdm, tqdm.auto.tqdm):  # forks share a lock, and a killed one keeps it
        kind.set_lock(threading.RLock())
    raise SystemExit(run(*arguments))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with data, settings, and a run that was never disturbed, ``straight``."""
    write_text_encoder(tmp_path / "bert")
    write_data(tmp_path)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads do not survive a fork, and rounding depends on their number
    assert run("straight") == 0
    yield tmp_path
    torch.set_num_threads(threads)


def disturb(name, folder, choose):
    """Kill a run at random moments, and resume it, until it ends by itself."""
    for patience in (*choose.choices([0.1, 0.3, 0.6, 1.0], k=8), None):
        options = ["--resume"] if (folder / name / "config.json").exists() else []
        process = CONTEXT.Process(target=run_and_exit, args=(name, *options))
        process.start()
        process.join(patience and patience * choose.uniform(0.5, 2))
        number = choose.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        if process.exitcode is None:
            os.kill(process.pid, number)
            process.join(120)
        before_main = {-number} if number != signal.SIGINT else {1}
        assert process.exitcode in {0, -signal.SIGKILL, 128 + number} | before_main
        if process.exitcode == 0:
            return


def test_kills_and_resumes(campaign, folder):
    """Training killed at random moments, resumed until it ends: the bits of an undisturbed run"""
    expected = load_file(folder / "straight" / "model" / "model.safetensors")
    for seed in campaign.seeds(2):
        with campaign.case(seed):
            name = f"run-{seed}"
            disturb(name, folder, random.Random(seed))
            found = load_file(folder / name / "model" / "model.safetensors")
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[key], expected[key]) for key in expected)
            rows = [json.loads(line) for line in (folder / name / "history.jsonl").open()]
            assert [row["step"] for row in rows] == [2, 4, 6, 8]
            left = {path.name for path in (folder / name).rglob("*")}
            assert not [file for file in left if file.startswith(".") or file == "run.lock"]
