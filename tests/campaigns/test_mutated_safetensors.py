"""Damaged folders and caches: what is loaded is what was written, or a clear refusal."""

import random
import shutil
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from selip_core import (
    DualEncoder,
    Finding,
    Report,
    SemanticSimilarity,
    SyntaxSimilarity,
    create_image_encoder,
)
from selip_core.data import Preprocessing, VolumeCache
from selip_core.encoders import ImageEncoder
from selip_core.similarity import dice, exact, load_similarity
from selip_core.tensor_files import content_digest, load_tensors, save_tensors
from selip_core.text import TextEncoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "lesion", "in", "the", "pons", "."]
REPORTS = [
    Report(id=f"{n}", text=f"lesion {n}", findings=[Finding(site=f"pons {n}", signal="high")])
    for n in range(6)
]


def encode(texts):
    return torch.tensor([[float(len(text)), float(ord(text[-1]))] for text in texts])


def flip_bits(file: Path, other: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def flip_at_the_start(file: Path, other: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[rng.randrange(min(400, len(content)))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def change_digits(file: Path, other: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    digits = [place for place, byte in enumerate(content[:4000]) if chr(byte) in "0123456789"]
    for place in rng.sample(digits, min(len(digits), 2)):
        content[place] = ord(rng.choice("0123456789"))
    file.write_bytes(content)


def cut(file: Path, other: Path, rng: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def extend(file: Path, other: Path, rng: random.Random) -> None:
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randint(1, 9)))


def blank_a_block(file: Path, other: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    start = rng.randrange(len(content))
    length = len(content[start : start + 512])
    content[start : start + 512] = bytes(length)
    file.write_bytes(content)


def swap(file: Path, other: Path, rng: random.Random) -> None:
    first, second = file.read_bytes(), other.read_bytes()
    file.write_bytes(second)
    other.write_bytes(first)


def replace_by_rubbish(file: Path, other: Path, rng: random.Random) -> None:
    file.write_bytes(rng.choice([b"", b"{", b"[]", b"{}", b"null", b"[" * 10**5, b"\x80\x04."]))


def remove(file: Path, other: Path, rng: random.Random) -> None:
    file.unlink()


def replace_by_a_folder(file: Path, other: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()


def link_to_nowhere(file: Path, other: Path, rng: random.Random) -> None:
    file.unlink()
    file.symlink_to("nowhere")


MUTATIONS = (
    flip_bits,
    flip_at_the_start,
    change_digits,
    cut,
    extend,
    blank_a_block,
    swap,
    replace_by_rubbish,
    remove,
    replace_by_a_folder,
    link_to_nowhere,
)


def mutate(folder: Path, theirs: Path, rng: random.Random) -> str:
    """Damage one file of a folder; the other of a swap is of it or of a folder of its kind."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    others = [*files, *sorted(path for path in theirs.rglob("*") if path.is_file())]
    mutation, file = rng.choice(MUTATIONS), rng.choice(files)
    namesakes = [path for path in others if path.name == file.name and path != file]
    mutation(file, rng.choice(namesakes or others), rng)
    return f"{mutation.__name__} of {file.name}"


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The folder of a random BERT."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=32).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "max_position_embeddings": 32}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": len(WORDS)}
    transformers.BertModel(transformers.BertConfig(**sizes, **layers)).save_pretrained(folder)
    return folder


def save_image_encoder(folder, seed):
    torch.manual_seed(seed)
    create_image_encoder("resnet10", embed_dim=8, width=1 / 16).save_pretrained(folder)


def digest_of(model):
    with torch.no_grad():
        volumes = torch.linspace(-1, 1, 8 * 32 * 32).reshape(1, 1, 8, 32, 32)
        return content_digest({**model.state_dict(), "embedding": model(volumes)})


def digest_of_dual(model):
    with torch.no_grad():
        words = model.encode_text(["no lesion in the pons .", "pons"])
    return content_digest({**model.state_dict(), "words": words})


def save_similarity(folder, seed):
    kernel = 0.5 * exact("site") + 0.5 * dice("signal")
    SyntaxSimilarity(kernel, gamma=2.0 + seed).fit(REPORTS[:-seed]).save(folder)


def digest_of_similarity(similarity):
    table = similarity.batch(dtype=torch.float64).dense()
    return content_digest({"table": table}, {"ids": " ".join(similarity.index.ids)})


def save_tensor_file(folder, seed):
    folder.mkdir()
    tensors = {"a": torch.arange(9.0), "b": torch.ones(3, dtype=torch.bfloat16)}
    save_tensors(tensors, folder / "a.safetensors", {"epoch": "3"})  # no seed: one file is all


def load_tensor_file(folder):
    return load_tensors(folder / "a.safetensors")


LOADERS = {
    "image encoder": (20, save_image_encoder, ImageEncoder.from_pretrained, digest_of),
    "similarity": (40, save_similarity, load_similarity, digest_of_similarity),
    "tensors": (60, save_tensor_file, load_tensor_file, lambda loaded: content_digest(*loaded)),
}


def run(campaign, tmp_path, name, count, save, load, digest):
    """Load mutated copies of a folder."""
    save(tmp_path / "mine", 1)
    save(tmp_path / "theirs", 2)
    right, loaded = digest(load(tmp_path / "mine")), 0
    for seed in campaign.seeds(count):
        mine, theirs = tmp_path / f"mine {seed}", tmp_path / f"theirs {seed}"
        shutil.copytree(tmp_path / "mine", mine)
        shutil.copytree(tmp_path / "theirs", theirs)
        damage = mutate(mine, theirs, random.Random(seed))
        with campaign.case(f"{name}, {seed}, {damage}"):
            try:
                found = digest(load(mine))
            except (ValueError, OSError) as error:
                message = str(error)
                assert str(mine) in message, message
            else:
                loaded += 1
                assert found == right
        shutil.rmtree(mine)
        shutil.rmtree(theirs)
    assert loaded < campaign.cases


@pytest.mark.parametrize("name", LOADERS)
def test_mutated_folders(campaign, tmp_path, name):
    """Folders of encoders and similarities, and tensor files, with random damage."""
    run(campaign, tmp_path, name, *LOADERS[name])


def test_mutated_dual_encoders(campaign, tmp_path, bert):
    """Folders of dual encoders, tokenizer and all, with random damage."""

    def save(folder, seed):
        torch.manual_seed(seed)
        image = create_image_encoder("resnet10", embed_dim=8, width=1 / 16)
        DualEncoder(image, TextEncoder(bert, embed_dim=8)).save_pretrained(folder)

    run(campaign, tmp_path, "dual", 20, save, DualEncoder.from_pretrained, digest_of_dual)


def test_mutated_volume_caches(campaign, tmp_path):
    """Entries of the volume cache with random damage: the volume is right."""
    preprocessing = Preprocessing((1, 1, 1), (6, 6, 6))
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        voxels = rng.random((9, 9, 9)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii.gz")
    right = {name: preprocessing(tmp_path / f"{name}.nii.gz", "here") for name in "ab"}
    for seed in campaign.seeds(20):
        cache = VolumeCache(tmp_path / f"cache {seed}", preprocessing)
        for name in "ab":
            cache.get(tmp_path / f"{name}.nii.gz", "here")
        damage = mutate(cache.folder, cache.folder, random.Random(seed))
        with campaign.case(f"{seed}, {damage}"):
            for name in "abab":
                assert torch.equal(cache.get(tmp_path / f"{name}.nii.gz", "here"), right[name])
        shutil.rmtree(cache.folder)


def test_mutated_caches_of_embeddings(campaign, tmp_path):
    """Files of the cache of embeddings with random damage: the similarity is right."""

    def fit(folder):
        similarity = SemanticSimilarity(encode, cache=folder, revision="1")
        return similarity.fit(REPORTS).batch().dense()

    right = SemanticSimilarity(encode).fit(REPORTS).batch().dense()
    for seed in campaign.seeds(20):
        folder = tmp_path / f"cache {seed}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(folder)
            damage = mutate(folder, folder, random.Random(seed))
            with campaign.case(f"{seed}, {damage}"):
                for _ in range(2):
                    assert torch.equal(fit(folder), right)
        shutil.rmtree(folder)
