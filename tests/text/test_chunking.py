"""Long texts in chunks: every token counts once, and nothing else changes."""

from itertools import pairwise

import pytest
import torch

from selip_core import DualEncoder, SimilarityCLIPLoss, cached_contrastive_step
from selip_core.text import Chunking, TextEncoder
from selip_core.text.chunking import combine_chunks, span_weights

SHORT = "no lesion ."
LONG = "acute infarct in the left frontal lobe . no lesion in the right lobe ."
WORDS = LONG.split()  # 15 tokens, 17 with those around
TEXTS = [LONG, SHORT, " ".join(WORDS[:9]), ""]


@pytest.fixture
def chunked(make_model):
    """Make an encoder that reads chunks of 8 tokens: 6 of a text between two special ones."""

    def make(pooling="mean", overlap=2, max_chunks=8, **options):
        chunking = Chunking(overlap, max_chunks)
        settings = {"embed_dim": 4, "max_length": 8, "chunking": chunking} | options
        folder = make_model("bert")
        torch.manual_seed(0)
        return TextEncoder(folder, pooling=pooling, **settings).eval()

    return make


@pytest.mark.parametrize("length", range(1, 25))
@pytest.mark.parametrize(("size", "overlap"), [(5, 0), (5, 2), (5, 4), (1, 0)])
def test_spans_cover_a_text_in_order_and_none_adds_nothing(length, size, overlap):
    spans = Chunking(overlap, max_chunks=99).spans(length, size)
    assert (spans[0].start, spans[-1].stop) == (0, length)
    for one, next_one in pairwise(spans):
        assert one.stop - one.start == size
        assert next_one.start == one.stop - overlap
        assert next_one.stop > one.stop
    weights = torch.cat(span_weights(spans))
    assert weights.sum().item() == pytest.approx(length)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_a_text_of_one_chunk_is_read_as_without_chunking(chunked, pooling):
    encoder, plain = chunked(pooling), chunked(pooling, chunking=None)
    texts = [SHORT, "", " ".join(WORDS[:6])]
    torch.testing.assert_close(encoder(texts), plain(texts))
    assert encoder.tokenize(texts)["input_ids"].shape[:2] == (3, 1)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_a_batch_of_mixed_lengths_is_each_text_alone_in_order(chunked, pooling):
    encoder = chunked(pooling)
    tokens = encoder.tokenize(TEXTS)
    assert tokens["input_ids"].shape == (4, 4, 8)
    together = encoder(tokens)
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(together[row], encoder([text])[0], rtol=1e-4, atol=1e-5)
    swapped = encoder(TEXTS[::-1])
    torch.testing.assert_close(swapped.flip(0), together, rtol=1e-4, atol=1e-5)


def plain_chunks(encoder, overlap):
    """The states of the chunks of ``LONG``, by the backbone alone, and where they lie."""
    starts = range(0, 15 - overlap, 6 - overlap)
    parts = [WORDS[start : start + 6] for start in starts]
    ids = [encoder.tokenizer(" ".join(part), return_tensors="pt")["input_ids"] for part in parts]
    return starts, [encoder.backbone(input_ids=i).last_hidden_state[0] for i in ids]


@pytest.mark.parametrize("overlap", [0, 2, 4])
def test_mean_is_the_mean_over_all_tokens_each_counted_once(chunked, overlap):
    encoder = chunked(overlap=overlap)
    starts, states = plain_chunks(encoder, overlap)
    of_token = {}
    for start, chunk in zip(starts, states, strict=True):
        for place, state in enumerate(chunk):
            inside = 0 < place < len(chunk) - 1
            key = start + place - 1 if inside else ("first" if place == 0 else "last")
            of_token.setdefault(key, []).append(state)
    assert len(of_token) == 15 + 2
    tokens = [torch.stack(states).mean(dim=0) for states in of_token.values()]
    expected = torch.stack(tokens).mean(dim=0)
    pooled = encoder.pooled(encoder.tokenize([LONG, SHORT]))[0]
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("pooling", "place"), [("cls", 0), ("last", -1)])
def test_others_weigh_the_chunks_by_the_tokens_they_add(chunked, pooling, place):
    encoder = chunked(pooling, overlap=0)
    _, states = plain_chunks(encoder, overlap=0)
    weights = torch.tensor([6.0, 6.0, 3.0]) + 2 / 3  # and a third of both special tokens
    expected = sum(w * s[place] for w, s in zip(weights / 17, states, strict=True))
    pooled = encoder.pooled(encoder.tokenize([LONG]))[0]
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)


def test_all_chunks_go_through_the_backbone_at_once_and_no_padding_as_a_chunk(chunked):
    encoder = chunked(overlap=0)
    calls = []
    encoder.backbone.register_forward_pre_hook(
        lambda _, __, inputs: calls.append(inputs["input_ids"].shape), with_kwargs=True
    )
    encoder([LONG, SHORT])
    assert calls == [(3 + 1, 8)]


def test_chunks_are_bounded_and_what_is_cut_is_told(chunked):
    encoder = chunked(overlap=0, max_chunks=2)
    assert encoder.tokenize.cut_share([LONG, SHORT, " ".join(WORDS[:12]), ""]) == 0.25
    with pytest.warns(UserWarning, match=r"1 of 2 texts \(50%\) .* 2 x 8 tokens.*raise max_chunks"):
        tokens = encoder.tokenize([LONG, SHORT])
    assert tokens["input_ids"].shape == (2, 2, 8)
    first = " ".join(WORDS[:12])
    torch.testing.assert_close(encoder([LONG]), encoder([first]))


def test_gradients_reach_all_chunks(chunked):
    encoder = chunked(overlap=0)
    encoder([LONG]).square().sum().backward()
    grad = encoder.backbone.get_input_embeddings().weight.grad
    words = set(encoder.tokenize.content([LONG])[0])
    assert (grad[sorted(words)].abs().sum(dim=1) > 0).all()
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []


def test_a_batch_of_chunks_is_cut_up_by_texts_where_gradients_are_cached(chunked):
    model = DualEncoder(torch.nn.Linear(3, 4), chunked())
    images, tokens, loss = (
        torch.randn(4, 3),
        model.text_encoder.tokenize(TEXTS),
        SimilarityCLIPLoss(),
    )
    loss(*model(images, tokens)).backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    cached_contrastive_step(model, (images, tokens), loss, chunk_size=2)
    gradients = [parameter.grad for parameter in model.parameters()]
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-5)


def test_states_of_half_precision_are_combined_in_float32():
    states = torch.ones(1000, 1, dtype=torch.bfloat16)
    is_chunk = torch.ones(1, 1000, dtype=torch.bool)
    combined = combine_chunks(states, torch.ones(1, 1000, 3), is_chunk)
    assert combined.dtype == torch.bfloat16
    assert combined.item() == 1.0


def test_decoders_are_read_in_chunks_too(make_model, family):
    encoder = TextEncoder(make_model(family), max_length=8, chunking=Chunking(2, max_chunks=99))
    together = encoder.eval()(TEXTS)
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(together[row], encoder([text])[0], rtol=1e-4, atol=1e-4)


def test_refuses_an_overlap_as_long_as_a_chunk(chunked):
    with pytest.raises(ValueError, match="less than the 6 tokens of a chunk, got 6"):
        chunked(overlap=6)
