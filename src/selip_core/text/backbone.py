"""A pretrained text model of any family, and its tokenizer."""

from pathlib import Path
from typing import Any

import torch

from selip_core.model_folders import maps_to_code, own_code_error, require_no_code
from selip_core.model_weights import (
    fitting,
    require_all_weights,
    require_floats,
    require_trained_values,
)
from selip_core.pretrained.hub import is_hub_name


def load_backbone(name: str, pretrained: bool = True) -> tuple[Any, Any]:
    """Return tokenizer and model of a folder or a name on the hub, the model in float32.

    Of an encoder-decoder (T5) it is the encoder. The tokenizer has a padding token.

    Raises:
        ValueError: If the model needs code of its own, which is never run, is not a text encoder or
            decoder, is an adapter to another model, is quantized, lacks weights, or has values that
            no trained network has.
        OSError: If there is no such model, or none in safetensors.
    """
    from transformers import AutoConfig, AutoTokenizer

    source = {"local_files_only": Path(name).is_dir(), "trust_remote_code": False}
    if source["local_files_only"]:
        require_no_code(Path(name))
    try:
        config = AutoConfig.from_pretrained(name, **source)
        if maps_to_code(vars(config)):
            raise own_code_error(repr(name))
        _require_plain_weights(name, config, source["local_files_only"])
        # Named there, kernels of the hub would be downloaded and run: transformers shall choose.
        config._attn_implementation = None
        loader = _loader(name, config)
        tokenizer = AutoTokenizer.from_pretrained(name, **source)
        backbone = _model(loader, name, config, source if pretrained else None)
    except OSError as error:
        weights = " and model.safetensors" if pretrained else ""
        raise OSError(
            f"no text encoder can be loaded from {name!r}: expected a folder with config.json, a "
            f"tokenizer{weights}, or a model of the Hugging Face hub in reach{_hub(name)}"
        ) from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise own_code_error(repr(name)) from error
    _ensure_padding_token(tokenizer, config)
    # BERT's own pooler is not used here, and a parameter without gradient stalls DDP.
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return tokenizer, backbone


def is_decoder(config: Any) -> bool:
    """Whether a token's state knows only what stands before it, as in GPT-2, Llama and Qwen."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = type(config)
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind not in MODEL_FOR_MASKED_LM_MAPPING


def longest_input(tokenizer: Any, backbone: Any) -> int:
    """The most tokens that tokenizer and positions allow; no limit is a number beyond all texts."""
    positions: int = getattr(backbone.config, "max_position_embeddings", -1)
    table = getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if padding is not None:  # RoBERTa counts positions from the one after that of padding
        positions -= padding + 1
    limit: int = tokenizer.model_max_length
    return min(limit, positions) if positions > 0 else limit


def set_gradient_checkpointing(backbone: Any, on: bool) -> None:
    """Let the layers keep no activations in training and compute them again for the gradient."""
    # transformers renames gradient_checkpointing_enable; earlier releases know no other name.
    kind = "activation" if hasattr(backbone, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(backbone, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    else:
        getattr(backbone, f"{kind}_checkpointing_disable")()


def _hub(name: str) -> str:
    """What may keep the hub's model of this name out of reach; nothing for a path."""
    from huggingface_hub import constants

    if not is_hub_name(name):
        return ""
    if constants.HF_HUB_OFFLINE:
        return (
            " (HF_HUB_OFFLINE is set: only what was downloaded before is found; unset it once, or "
            "name a folder that holds the model)"
        )
    return " (without network, name a folder that holds the model)"


def _loader(name: str, config: Any) -> Any:
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoModel, AutoModelForTextEncoding

    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return AutoModelForTextEncoding
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        kind = "an encoder-decoder" if config.is_encoder_decoder else "not a model of texts alone"
        raise ValueError(
            f"{name!r} ({config.model_type}) is {kind}, of which transformers has no text encoder: "
            "choose an encoder such as BERT, a decoder such as Qwen, or T5"
        )
    return AutoModel


def _require_plain_weights(name: str, config: Any, offline: bool) -> None:
    """Refuse an adapter, which transformers would read into the model that it names, and integers.

    Raises:
        ValueError: If there is an adapter, or if the weights are quantized.
    """
    from transformers.utils.peft_utils import find_adapter_config_file

    if find_adapter_config_file(name, local_files_only=offline) is not None:
        raise ValueError(
            f"{name!r} holds an adapter to another model: merge it by merge_and_unload() of peft, "
            "and save what that gives"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"{name!r} is quantized: choose the weights in floating point")


def _model(loader: Any, name: str, config: Any, source: dict[str, bool] | None) -> Any:
    """The weights of ``source``, or new ones."""
    # A decoder would keep keys and values for tokens to come.
    config.use_cache = False
    if source is None:
        return loader.from_config(config, dtype=torch.float32, trust_remote_code=False)
    if source["local_files_only"]:
        require_floats(name, Path(name))
    with fitting(name):
        backbone, read = loader.from_pretrained(
            name,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **source,
        )
    require_all_weights(name, read)
    require_trained_values(name, backbone)
    return backbone


def _ensure_padding_token(tokenizer: Any, config: Any) -> None:
    """Give a tokenizer without padding token another's: padding is masked, so any will do."""
    padding = tokenizer.pad_token_id
    # Some decoders' tokenizers have one that was never put into the model.
    if padding is not None and padding < getattr(config, "vocab_size", padding + 1):
        return
    tokens = (tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token)
    known = [token for token in tokens if token is not None]
    if not known:
        raise ValueError(
            "the tokenizer has no padding token and no other special token: set its pad_token and "
            "save it again"
        )
    tokenizer.pad_token = known[0]
