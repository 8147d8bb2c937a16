"""Encoders, decoders and the encoder of T5: read as transformers and sentence-transformers do."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, BartConfig, CLIPConfig, T5EncoderModel

from selip_core.text import TextEncoder, Tokenize
from selip_core.text.backbone import is_decoder

SHORT = "no lesion ."
LONG = "acute infarct in the left frontal lobe ."
TEXTS = [SHORT, LONG, "lesion", "left frontal infarct in the right lobe . no acute lesion ."]
DECODERS = ["gpt2", "llama", "qwen2"]


def poolings(family):
    return ["mean", "last"] if family in DECODERS else ["cls", "mean", "last"]


def plain_states(folder, text, family):
    """The states of one text, without padding, by transformers alone."""
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    loader = T5EncoderModel if family == "t5" else AutoModel
    model = loader.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]


def test_states_are_those_of_transformers_for_each_text_alone(make_model, family):
    folder = make_model(family)
    states = [plain_states(folder, text, family) for text in TEXTS]
    rules = {"cls": lambda x: x[0], "mean": lambda x: x.mean(dim=0), "last": lambda x: x[-1]}
    for pooling in poolings(family):
        encoder = TextEncoder(folder, embed_dim=6, pooling=pooling).eval()
        with torch.no_grad():
            pooled = encoder.pooled(encoder.tokenize(TEXTS))
        expected = torch.stack([rules[pooling](state) for state in states])
        torch.testing.assert_close(pooled, expected, rtol=1e-5, atol=1e-5)
        assert torch.cdist(expected, expected).add(9 * torch.eye(len(TEXTS))).min() > 0.02


@pytest.mark.parametrize("family", DECODERS)
def test_the_side_that_a_tokenizer_pads_on_changes_nothing(make_model, family):
    left, right = (TextEncoder(make_model(family, side)).eval() for side in ("left", "right"))
    assert left.tokenizer.padding_side == "left"
    torch.testing.assert_close(
        left.pooled(left.tokenize(TEXTS)), right.pooled(right.tokenize(TEXTS))
    )


def test_tokens_padded_on_the_left_elsewhere_give_the_same(make_model, family):
    for pooling in poolings(family):
        encoder = TextEncoder(make_model(family, "left"), pooling=pooling).eval()
        tokens = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
        assert (tokens["attention_mask"][:, 0] == 0).any()
        torch.testing.assert_close(encoder(tokens), encoder(TEXTS), rtol=1e-5, atol=1e-5)


def test_gradients_reach_every_parameter(make_model, family):
    encoder = TextEncoder(make_model(family), embed_dim=4)
    encoder(TEXTS).square().sum().backward()
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("family", "pooling"),
    [("bert", "cls"), ("roberta", "cls"), ("t5", "cls")]
    + [(family, "last") for family in DECODERS],
)
def test_auto_pools_as_the_family_is_read(make_model, family, pooling):
    assert TextEncoder(make_model(family)).pooling == pooling


def test_auto_takes_no_first_token_that_is_never_trained(make_model, family):
    encoder = TextEncoder(make_model(family), frozen=True)
    assert encoder.pooling == ("last" if family in DECODERS else "mean")


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_keeps_nothing_for_tokens_to_come(make_model, family):
    encoder = TextEncoder(make_model(family))
    assert encoder.backbone(**encoder.tokenize(TEXTS)).past_key_values is None


@pytest.mark.parametrize("family", DECODERS)
def test_refuses_the_first_token_of_a_decoder(make_model, family):
    with pytest.raises(ValueError, match=r"knows nothing of the text after it: choose .*'last'"):
        TextEncoder(make_model(family), pooling="cls")


def test_a_text_without_tokens_has_an_embedding(make_model, family):
    encoder = TextEncoder(make_model(family)).eval()
    alone, together = encoder([""]), encoder(["", LONG])
    assert alone.isfinite().all()
    torch.testing.assert_close(together[:1], alone, rtol=1e-5, atol=1e-5)


def test_nothing_is_read_as_the_end_of_a_text(make_model):
    tokenizer = TextEncoder(make_model("gpt2")).tokenizer
    tokenizer.pad_token = "<pad>"
    tokens = Tokenize(tokenizer, max_length=8)(["", "lesion"])
    assert tokens["input_ids"].tolist() == [[tokenizer.eos_token_id], [13]]
    tokenizer.eos_token = None
    assert Tokenize(tokenizer, max_length=8)([""])["input_ids"].tolist() == [[0]]


def test_tokens_of_a_batch_are_those_of_the_tokenizer(make_model, family):
    encoder = TextEncoder(make_model(family), max_length=7)
    encoder.tokenizer.padding_side = "right"
    with pytest.warns(UserWarning, match="cut off"):
        tokens = encoder.tokenize(TEXTS)
    expected = encoder.tokenizer(
        TEXTS, padding=True, truncation=True, max_length=7, return_tensors="pt"
    )
    for key, value in tokens.items():
        assert torch.equal(value, expected[key])


def test_roberta_reads_no_further_than_its_positions_count(make_model):
    encoder = TextEncoder(make_model("roberta")).eval()
    assert encoder.max_length == 31
    with pytest.warns(UserWarning, match="cut off"):
        assert encoder([LONG * 9]).isfinite().all()


def test_t5_has_no_decoder_and_no_limit_of_positions(make_model, tmp_path):
    encoder = TextEncoder(make_model("t5"), pooling="mean").eval()
    assert not any("decoder" in key for key in encoder.state_dict())
    assert encoder([LONG * 20]).isfinite().all()
    encoder.save_architecture(tmp_path)
    other = TextEncoder(tmp_path, pretrained=False).eval()
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other(TEXTS), encoder(TEXTS))


def test_causal_models_are_known_by_what_their_first_state_sees(make_model, family):
    encoder = TextEncoder(make_model(family)).eval()
    tokens = encoder.tokenize(["left lobe", "left lesion"])
    first = encoder.backbone(**tokens).last_hidden_state[:, 0]
    assert is_decoder(encoder.backbone.config) == torch.allclose(first[0], first[1])


@pytest.mark.parametrize(
    ("config", "got"),
    [(BartConfig, "an encoder-decoder"), (CLIPConfig, "not a model of texts alone")],
)
def test_refuses_a_model_without_a_text_encoder(tmp_path, config, got):
    config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=got):
        TextEncoder(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("known", [False, True])
def test_code_of_a_model_is_never_run(make_model, tmp_path, file, known):
    """Where transformers has the architecture too, its class need not compute what theirs does."""
    folder = shutil.copytree(make_model("bert"), tmp_path / "model")
    (folder / "own.py").write_text("raise SystemExit('this code ran')")
    config = json.loads((folder / file).read_text())
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoTokenizer": ["own.Slow", None]}
    if not known:
        config |= {"model_type": "own", "tokenizer_class": "Own"}
    (folder / file).write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"{file}.* brings its own code .*auto_map.* never run"):
        TextEncoder(folder)


def test_a_tokenizer_without_any_special_token_is_refused(make_model, tmp_path):
    folder = shutil.copytree(make_model("gpt2"), tmp_path / "bare")
    path = folder / "tokenizer_config.json"
    settings = {
        key: value for key, value in json.loads(path.read_text()).items() if "_token" not in key
    }
    path.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="has no padding token and no other special token"):
        TextEncoder(folder)


def test_a_padding_token_that_the_model_does_not_know_is_not_used(make_model, tmp_path):
    folder = make_model("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<unheard>"})
    tokenizer.save_pretrained(tmp_path)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, tmp_path)
    encoder = TextEncoder(tmp_path)
    assert encoder.tokenizer.pad_token_id < encoder.backbone.config.vocab_size
    assert encoder(TEXTS).isfinite().all()


def test_minilm_is_what_sentence_transformers_gives(minilm):
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(minilm), device="cpu")
    encoder = TextEncoder(minilm).eval()
    assert (encoder.pooling, encoder.max_length) == ("mean", reference.max_seq_length)
    texts = [*TEXTS, "Left frontal infarct. " * 99]
    with torch.no_grad(), pytest.warns(UserWarning, match="1 of 5 texts"):
        pooled = encoder.pooled(encoder.tokenize(texts))
    expected = reference.encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(normalize(pooled), expected, rtol=1e-5, atol=1e-6)


def test_an_adapter_is_refused(make_model, tmp_path):
    folder = shutil.copytree(make_model("bert"), tmp_path / "adapter")
    settings = {"peft_type": "LORA", "base_model_name_or_path": "owner/other"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"holds an adapter .*merge_and_unload"):
        TextEncoder(folder)


def test_quantized_weights_are_refused(make_model, tmp_path):
    folder = shutil.copytree(make_model("bert"), tmp_path / "quantized")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"is quantized: choose"):
        TextEncoder(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t * torch.nan, r"NaN or infinite: \S+.*diverged"),
        (torch.zeros_like, r"all zero, which they are not in a new encoder: \S+"),
        (lambda t: (t * 1000).round(), r"whole numbers throughout.*: \S+.*dequantise it"),
        (lambda t: (t * 100).to(torch.int8), r"other types than.*\(I8\).*dequantise it"),
    ],
)
def test_weights_that_no_trained_network_has_are_refused(
    make_model, family, tmp_path, change, told
):
    folder = shutil.copytree(make_model(family), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    wide = {k for k, t in tensors.items() if t.ndim == 2 and not re.search("emb|wt|wp|shared", k)}
    one = min(key for key in wide if not re.search("relative|decoder|pooler", key))
    save_file(tensors | {one: change(tensors[one])}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=rf"(?s)the text model .*model' holds .*{told}"):
        TextEncoder(folder)
    assert TextEncoder(folder, pretrained=False).pretrained is False


def test_weights_under_other_names_are_not_drawn_at_random(make_model, family, tmp_path):
    folder = shutil.copytree(make_model(family), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    wrapped = {f"_orig_mod.{key}": tensor for key, tensor in tensors.items()}
    save_file(wrapped, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack \d+ tensors of the text model.*_orig_mod"):
        TextEncoder(folder)
