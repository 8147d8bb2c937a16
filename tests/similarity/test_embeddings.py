import json
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from selip_core.similarity.embeddings import embed, encoder_identity, load_encoder

TEXTS = ["pons", "insula", "左侧额叶", ""]


class Letters:
    """Embeds by letters, and remembers what it was asked."""

    def __init__(self, scale=1.0):
        self.asked = []
        self.scale = scale

    def __call__(self, texts):
        self.asked += texts
        return torch.tensor(
            [[1.0, *(self.scale * text.count(one) for one in "ponsi")] for text in texts]
        )


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_rows_are_float32_of_unit_norm_in_the_order_of_texts():
    embeddings = embed(lambda texts: Letters()(texts).double(), [*TEXTS, "pons"])
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(embeddings[0], embeddings[4])
    torch.testing.assert_close(embeddings[3], torch.tensor([1.0, 0, 0, 0, 0, 0]))
    assert embed(Letters(), []).shape == (0, 0)


def test_a_model_is_asked_through_encode():
    class Model:
        def encode(self, texts):
            return Letters()(texts).numpy()

    torch.testing.assert_close(embed(Model(), TEXTS), embed(Letters(), TEXTS))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (torch.ones(2), r"row a text, \(2, r\), got shape \(2,\)"),
        (torch.ones(3, 2), r"row a text, \(2, r\), got shape \(3, 2\)"),
        (torch.tensor([[0.0, 0.0], [1.0, 0.0]]), "returned 1 of 2 that are not"),
        (torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0]]), "returned 2 of 2 that are not"),
    ],
)
def test_wrong_embeddings_are_refused_without_texts(result, message):
    with pytest.raises(ValueError, match=message) as caught:
        embed(lambda texts: result, ["secret name", "other"])
    assert "secret" not in str(caught.value)


def test_widths_must_agree(monkeypatch):
    monkeypatch.setattr("selip_core.similarity.embeddings._CHUNK_TEXTS", 1)
    with pytest.raises(ValueError, match=r"of one length, got \[1, 2\]"):
        embed(lambda texts: torch.ones(1, len(texts[0])), ["a", "bc"])


def test_only_missing_texts_are_embedded(cache):
    letters = Letters()
    first = embed(letters, TEXTS[:2], cache=cache, revision="1")
    again = embed(letters, [*TEXTS, *TEXTS[::-1]], cache=cache, revision="1")
    assert letters.asked == TEXTS
    torch.testing.assert_close(again[:2], first, rtol=0, atol=0)
    torch.testing.assert_close(again[4:].flip(0), again[:4], rtol=0, atol=0)


def test_another_encoder_gets_nothing_of_this_one(cache):
    one = embed(Letters(), TEXTS, cache=cache, revision="1")
    other = embed(Letters(2.0), TEXTS, cache=cache, revision="2")
    torch.testing.assert_close(other, embed(Letters(2.0), TEXTS))
    assert not torch.equal(one, other)


def test_other_versions_of_libraries_get_nothing(cache, monkeypatch):
    letters = Letters()
    embed(letters, TEXTS, cache=cache, revision="1")
    monkeypatch.setattr("selip_core.similarity.embedding_cache._version", lambda name: "0")
    embed(letters, TEXTS, cache=cache, revision="1")
    assert letters.asked == TEXTS * 2


def test_a_function_without_revision_is_not_cached(cache):
    with pytest.raises(ValueError, match=r"revision=.* changes whenever it does; got none"):
        embed(Letters(), TEXTS, cache=cache)
    assert not cache.exists()


def test_no_text_is_stored(cache):
    embed(Letters(), TEXTS, cache=cache, revision="1")
    for path in files_of(cache):
        content = path.read_bytes() + str(path).encode()
        assert not any(text.encode() in content for text in TEXTS if text)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "foreign"])
def test_damaged_files_are_noticed_and_embedded_again(cache, damage):
    letters = Letters()
    right = embed(letters, TEXTS, cache=cache, revision="1")
    (path,) = files_of(cache)
    if damage == "changed":
        tensors = load_file(path)
        tensors["embeddings"] += 1
        save_file(tensors, path, {"sha256": "0"})
    elif damage == "foreign":
        save_file({"weights": torch.ones(2)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -3])
    with pytest.warns(UserWarning, match="cache of embeddings is damaged: its texts"):
        again = embed(letters, TEXTS, cache=cache, revision="1")
    torch.testing.assert_close(again, right, rtol=0, atol=0)
    embed(letters, TEXTS, cache=cache, revision="1")
    assert letters.asked == TEXTS * 2
    assert files_of(cache) == [path]  # replaced, not added to


def test_many_writers_at_once_leave_whole_files(cache):
    def write(number):
        embed(Letters(), [f"{number} pons {i}" for i in range(20)], cache=cache, revision="1")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    letters = Letters()
    texts = [f"{number} pons {i}" for number in range(6) for i in range(20)]
    torch.testing.assert_close(
        embed(letters, texts, cache=cache, revision="1"), embed(Letters(), texts)
    )
    assert letters.asked == []


def test_half_written_files_are_not_read(cache):
    embed(Letters(), TEXTS, cache=cache, revision="1")
    (path,) = files_of(cache)
    path.rename(path.with_name(f".partial-0-{path.name}"))
    letters = Letters()
    embed(letters, TEXTS, cache=cache, revision="1")
    assert letters.asked == TEXTS


def test_an_unknown_model_is_told(tmp_path):
    with pytest.raises(OSError, match="no sentence encoder can be loaded from 'no/such-model'"):
        load_encoder("no/such-model")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, write_bert):
    """A sentence-transformers model of random weights in half precision, in a folder."""
    folder = write_bert(tmp_path_factory.mktemp("tiny"), half=True)
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {
                    "idx": 0,
                    "name": "0",
                    "path": "",
                    "type": "sentence_transformers.models.Transformer",
                },
                {
                    "idx": 1,
                    "name": "1",
                    "path": "1_Pooling",
                    "type": "sentence_transformers.models.Pooling",
                },
            ]
        )
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True})
    )
    return folder


def copied(folder, target):
    for path in Path(folder).rglob("*"):
        if path.is_file():
            new = target / path.relative_to(folder)
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(path.read_bytes())
    return target


def test_a_model_in_half_precision_is_loaded_in_float32(tiny):
    model = load_encoder(tiny)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_model_is_known_by_its_files(tiny, tmp_path):
    other = copied(tiny, tmp_path / "other")
    assert encoder_identity(tiny) == encoder_identity(other)
    assert encoder_identity(load_encoder(tiny)) == encoder_identity(load_encoder(other))
    changed = load_file(other / "model.safetensors")
    changed["embeddings.word_embeddings.weight"][5, 0] += 1
    save_file(changed, other / "model.safetensors", {"format": "pt"})
    assert encoder_identity(tiny) != encoder_identity(other)
    assert encoder_identity(load_encoder(tiny)) != encoder_identity(load_encoder(other))


def test_a_model_that_has_embedded_is_the_same_model(tiny):
    model = load_encoder(tiny)
    before = encoder_identity(model)
    model.encode(["pons", "pons insula"])
    assert encoder_identity(model) == before
    model.tokenizer(["pons"], truncation=True, max_length=5)
    assert encoder_identity(model) == before
    assert model.tokenizer.backend_tokenizer.truncation["max_length"] == 5


def test_a_changed_model_serves_nothing_stale(tiny, tmp_path, cache):
    folder = copied(tiny, tmp_path / "model")
    before = embed(folder, ["pons", "insula"], cache=cache)
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"].neg_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    after = embed(folder, ["pons", "insula"], cache=cache)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, embed(load_encoder(folder), ["pons", "insula"], cache=cache))


def test_a_full_cache_needs_no_model(tiny, cache, monkeypatch):
    before = embed(tiny, ["pons"], cache=cache)
    monkeypatch.setattr("selip_core.similarity.embeddings.load_encoder", None)
    torch.testing.assert_close(embed(tiny, ["pons"], cache=cache), before, rtol=0, atol=0)


def test_pickles_are_refused(tiny, tmp_path):
    folder = copied(tiny, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin of the sentence encoder is a pickle"):
        load_encoder(folder)
