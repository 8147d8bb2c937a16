"""What is of another type or out of range is refused by its name, before a model is read."""

import pytest

from selip_core.text import Chunking, Lora, TextEncoder


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"embed_dim": 0}, "embed_dim must be a whole number of at least 1, got 0"),
        ({"embed_dim": 2.0}, r"embed_dim must be a whole .*got 2\.0"),
        ({"max_length": "a"}, "max_length must be from 1 to the model's 32, got 'a'"),
        ({"max_length": True}, "max_length must be .*got True"),
        ({"lora": {"rank": 4}}, r"lora must be a Lora, such as Lora\(rank=8\), or None, got {"),
        ({"chunking": True}, r"chunking must be a Chunking, such as Chunking\(.*, got True"),
        ({"pooling": ["cls"]}, r"pooling must be one of .*got \['cls'\]"),
    ],
)
def test_text_encoder(tiny_bert, settings, told):
    with pytest.raises(ValueError, match=told):
        TextEncoder(tiny_bert, **settings)


@pytest.mark.parametrize("name", [None, "", 3])
def test_what_names_no_model(name):
    with pytest.raises(ValueError, match=r"name_or_folder must be a folder or the name of a model"):
        TextEncoder(name)


@pytest.mark.parametrize("texts", [None, 3, (text for text in ["no lesion ."])])
def test_texts_that_are_no_sequence(tiny_bert, texts):
    encoder = TextEncoder(tiny_bert)
    with pytest.raises(ValueError, match=rf"sequence of .*, got {type(texts).__name__}"):
        encoder(texts)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rank": "a"}, "rank must be a whole number of at least 1, got 'a'"),
        ({"rank": 0}, "rank must be .*got 0"),
        ({"alpha": -1}, "alpha must be a finite number above 0, got -1"),
        ({"alpha": 0}, "alpha must be .*got 0"),
        ({"alpha": float("inf")}, "alpha must be .*got inf"),
        ({"alpha": "a"}, "alpha must be .*got 'a'"),
        ({"dropout": 1}, r"dropout must be a number in \[0, 1\), got 1"),
        ({"dropout": None}, "dropout must be .*got None"),
        ({"target_modules": 3}, "target_modules must be .*got 3"),
        ({"target_modules": (3,)}, r"target_modules must be .*got \(3,\)"),
    ],
)
def test_lora(settings, told):
    with pytest.raises(ValueError, match=told):
        Lora(**settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"overlap": -1}, "overlap must be a whole number of at least 0, got -1"),
        ({"overlap": "a"}, "overlap must be .*got 'a'"),
        ({"max_chunks": 0}, "max_chunks must be a whole number of at least 1, got 0"),
    ],
)
def test_chunking(settings, told):
    with pytest.raises(ValueError, match=told):
        Chunking(**settings)
