import json
import shutil

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoConfig, modeling_utils
from transformers.integrations import hub_kernels

from selip_core.text import TextEncoder

SHORT = "no lesion ."
LONG = "acute infarct in the left frontal lobe ."
CHINESE = "左侧额叶皮层下见斑片状长T1长T2信号，FLAIR呈高信号，DWI未见明显弥散受限。"


@pytest.fixture
def encoder(tiny_bert):
    torch.manual_seed(0)
    return TextEncoder(tiny_bert, embed_dim=6, pooling="mean").eval()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_changes_nothing(tiny_bert, pooling):
    encoder = TextEncoder(tiny_bert, embed_dim=6, pooling=pooling).eval()
    with torch.no_grad():
        together, alone = encoder([SHORT, LONG]), encoder([SHORT])
    assert together.shape == (2, 6)
    torch.testing.assert_close(together[:1], alone)
    assert not torch.allclose(together[0], together[1])


def test_is_projection_of_pooled_tokens(encoder):
    pooled = encoder.pooled(encoder.tokenize([SHORT, LONG]))
    assert pooled.shape == (2, 16)
    torch.testing.assert_close(encoder.projection(pooled), encoder([SHORT, LONG]))


def test_texts_are_cut_at_max_length(tiny_bert):
    encoder = TextEncoder(tiny_bert, max_length=5)
    with pytest.warns(UserWarning, match="1 of 2 texts"):
        assert encoder.tokenize([SHORT, LONG])["input_ids"].shape == (2, 5)


def test_reads_as_much_as_the_model_has_positions_for(encoder):
    assert encoder.max_length == 32
    with pytest.warns(UserWarning, match="1 of 1 texts"):
        assert encoder([LONG * 10]).isfinite().all()


def test_refuses_a_length_without_room_for_a_token(tiny_bert):
    with pytest.raises(ValueError, match=r"more than 2, the special tokens .*, got 2"):
        TextEncoder(tiny_bert, max_length=2)


@pytest.mark.parametrize("max_length", [0, 33])
def test_refuses_a_length_without_positions(tiny_bert, max_length):
    with pytest.raises(ValueError, match=f"max_length must be from 1 to .* 32, got {max_length}"):
        TextEncoder(tiny_bert, max_length=max_length)


def test_refuses_an_unknown_pooling(tiny_bert):
    with pytest.raises(ValueError, match=r"one of \['auto', 'cls', 'last', 'mean'\], got 'max'"):
        TextEncoder(tiny_bert, pooling="max")


def test_gradients_reach_every_parameter(encoder):
    encoder.train()([SHORT, LONG]).square().sum().backward()
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []


def test_frozen_backbone_stays_in_eval_without_gradient(tiny_bert):
    encoder = TextEncoder(tiny_bert, frozen=True)
    assert encoder.training
    assert not any(module.training for module in encoder.backbone.modules())
    assert encoder.train().projection.training
    assert not encoder.backbone.training
    tokens = encoder.tokenize([LONG])
    assert not encoder.pooled(tokens).requires_grad
    torch.testing.assert_close(encoder.pooled(tokens), encoder.pooled(tokens), rtol=0, atol=0)
    encoder([LONG]).sum().backward()
    trained = {key for key, p in encoder.named_parameters() if p.grad is not None}
    assert trained == {"projection.weight", "projection.bias"}


def test_takes_what_it_tokenised(encoder):
    with torch.no_grad():
        torch.testing.assert_close(encoder(encoder.tokenize([SHORT, LONG])), encoder([SHORT, LONG]))


def test_gradient_checkpointing_changes_memory_and_no_gradient(tiny_bert):
    encoder = TextEncoder(tiny_bert, pooling="mean")
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    calls = []
    encoder.backbone.encoder.layer[0].intermediate.register_forward_hook(lambda *_: calls.append(1))
    gradients = []
    for on, expected in ((False, 1), (True, 2), (False, 1)):
        encoder.gradient_checkpointing = on
        assert encoder.gradient_checkpointing is on
        calls.clear()
        encoder.zero_grad()
        encoder([SHORT, LONG]).square().sum().backward()
        assert len(calls) == expected
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_train_and_eval_switch_an_unfrozen_backbone(encoder):
    assert encoder.train().backbone.training
    assert not encoder.eval().backbone.training


def test_state_dict_round_trip(tiny_bert, encoder):
    other = TextEncoder(tiny_bert, embed_dim=6, pooling="mean").eval()
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other([LONG]), encoder([LONG]), rtol=0, atol=0)


def test_architecture_and_weights_make_the_encoder_again(encoder, tmp_path):
    encoder.save_architecture(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    other = TextEncoder(tmp_path, embed_dim=6, pretrained=False).eval()
    assert other.pooling == "mean"
    assert other.max_length == encoder.max_length
    assert not torch.equal(other([LONG]), encoder([LONG]))
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other([LONG]), encoder([LONG]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("texts", "got"),
    [
        (LONG, "one or more strings, got one string"),
        ([], "one or more strings, got none"),
        ([SHORT, None], "every text must be a string, got NoneType at index 1"),
    ],
)
def test_refuses_what_are_not_texts(encoder, texts, got):
    for use in (encoder, encoder.unknown_token_share, encoder.warn_unknown_tokens):
        with pytest.raises(ValueError, match=got):
            use(texts)


def test_refuses_a_folder_without_safetensors(tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        TextEncoder(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match=r"no text encoder .*/nowhere': expected a .* hub in reach$"):
        TextEncoder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("offline", "told"),
    [
        (True, r"in reach \(HF_HUB_OFFLINE is set: only what .*, or name a folder that holds"),
        (False, r"in reach \(without network, name a folder that holds the model\)$"),
    ],
)
def test_a_model_out_of_reach_is_told_what_may_keep_it(monkeypatch, offline, told):
    def out_of_reach(*_, **__):
        raise OSError("no connection")

    monkeypatch.setattr(AutoConfig, "from_pretrained", out_of_reach)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(OSError, match=told):
        TextEncoder("owner/model")


def test_unknown_share_counts_words_not_special_tokens(encoder):
    assert encoder.unknown_token_share(["left lobe", "left ventricle"]) == 0.25
    assert encoder.unknown_token_share([""]) == 0.0


def test_warning_tells_the_share_and_no_text(encoder):
    with pytest.warns(UserWarning, match="25% of the tokens of 2 texts are unknown") as caught:
        encoder.warn_unknown_tokens(["left lobe", "left ventricle"])
    assert "ventricle" not in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_no_warning_at_the_limit(encoder):
    encoder.warn_unknown_tokens(["left lobe", "left ventricle"], limit=0.25)


def test_minilm_knows_english_and_no_chinese(minilm):
    encoder = TextEncoder(minilm, embed_dim=8, max_length=512, frozen=True)
    assert encoder.backbone.dtype == torch.float32
    assert encoder.unknown_token_share([LONG]) == 0.0
    with pytest.warns(UserWarning, match="unknown to the text encoder"):
        encoder.warn_unknown_tokens([CHINESE])
    pooled = torch.nn.functional.normalize(
        encoder.pooled(
            encoder.tokenize(["infarct on the left", "stroke on the left", "a fine day at sea"])
        )
    )
    assert pooled[0] @ pooled[1] > pooled[0] @ pooled[2] + 0.2


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("chosen", ["owner/kernel", {"": "owner/kernel"}, "flash_attention_2"])
def test_no_folder_chooses_kernels_of_the_hub(tiny_bert, tmp_path, monkeypatch, chosen, pretrained):
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_implementation": chosen}))
    loaded = []
    for module in (modeling_utils, hub_kernels):
        monkeypatch.setattr(module, "is_kernel", lambda name: loaded.append(name) or False)
    encoder = TextEncoder(folder, pretrained=pretrained)
    assert encoder.backbone.config._attn_implementation in ("eager", "sdpa")
    assert not {"owner/kernel", "flash_attention_2"} & set(loaded)
