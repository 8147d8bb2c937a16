"""Tokenising apart from the model: in workers, without its weights."""

import os
import pickle
import warnings

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, ByT5Tokenizer

from selip_core.text import Chunking, TextEncoder, Tokenize

TEXTS = ["no lesion .", "acute infarct in the left frontal lobe .", "left lobe", "right lesion ."]


@pytest.mark.parametrize(
    ("start", "workers", "chunking"), [("fork", 2, None), ("spawn", 1, Chunking(overlap=1))]
)
def test_workers_tokenise_and_the_encoder_takes_what_they_give(
    tiny_bert, start, workers, chunking, capfd
):
    encoder = TextEncoder(tiny_bert, max_length=6, chunking=chunking).eval()
    loader = DataLoader(
        TEXTS,
        batch_size=2,
        collate_fn=encoder.tokenize,
        num_workers=workers,
        multiprocessing_context=start,
    )
    with torch.no_grad():
        embeddings = torch.cat([encoder(tokens) for tokens in loader])
    assert "parallelism" not in capfd.readouterr().err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.testing.assert_close(embeddings, encoder(TEXTS), rtol=1e-5, atol=1e-6)


def test_it_carries_no_weights(minilm):
    encoder = TextEncoder(minilm)
    tokenize = pickle.loads(pickle.dumps(encoder.tokenize))
    assert len(pickle.dumps(encoder.tokenize)) < 2e6
    assert not any(isinstance(value, torch.nn.Module) for value in vars(encoder.tokenize).values())
    for key, value in encoder.tokenize(TEXTS).items():
        assert torch.equal(tokenize(TEXTS)[key], value)


class TellsOfThreads:
    """Tokenises, and gives what the process then says of the tokenizer's threads."""

    def __init__(self, tokenize):
        self.tokenize = tokenize

    def __call__(self, texts):
        self.tokenize(texts)
        return os.environ.get("TOKENIZERS_PARALLELISM")


@pytest.mark.parametrize("chosen", ["true", None])
def test_threads_are_switched_off_in_workers_alone(tiny_bert, monkeypatch, chosen):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if chosen is not None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", chosen)
    tell = TellsOfThreads(Tokenize(AutoTokenizer.from_pretrained(tiny_bert), max_length=12))
    told = {}
    tell(TEXTS * 100)  # starts threads, which a worker does not inherit
    for workers in (1, 0):
        loader = DataLoader(
            TEXTS, batch_size=2, collate_fn=tell, num_workers=workers, timeout=60 * workers
        )
        told[workers] = set(loader)
    assert told == {1: {"false"}, 0: {chosen}}


def test_a_tokenizer_in_python_does_as_well():
    tokens = Tokenize(ByT5Tokenizer(), max_length=4, chunking=Chunking(overlap=1))(["abcd", "a"])
    a, b, c, d, end, padding = 100, 101, 102, 103, 1, 0
    assert tokens["input_ids"].tolist() == [
        [[a, b, c, end], [c, d, end, padding]],
        [[a, end, padding, padding], [padding] * 4],
    ]
    assert tokens["token_weights"].tolist() == [
        [[1.0, 1.0, 0.5, 0.5], [0.5, 1.0, 0.5, 0.0]],
        [[1.0, 1.0, 0.0, 0.0], [0.0] * 4],
    ]


def test_texts_that_are_cut_are_told_once_by_number_alone(tiny_bert):
    encoder = TextEncoder(tiny_bert, max_length=6)
    with pytest.warns(UserWarning, match=r"1 of 4 texts \(25%\) .*, 1 x 6 tokens") as caught:
        encoder.tokenize(TEXTS)
    assert "infarct" not in str(caught[0].message)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.tokenize(TEXTS)


@pytest.mark.filterwarnings("error")
def test_nothing_is_told_of_texts_that_fit(tiny_bert):
    encoder = TextEncoder(tiny_bert, max_length=10)
    encoder.tokenize(TEXTS)
    assert encoder.tokenize.cut_share(TEXTS) == 0.0
    assert TextEncoder(tiny_bert, max_length=9).tokenize.cut_share(TEXTS) == 0.25


def test_cut_share_refuses_what_are_not_texts(tiny_bert):
    with pytest.raises(ValueError, match="one or more strings, got none"):
        TextEncoder(tiny_bert).tokenize.cut_share([])
