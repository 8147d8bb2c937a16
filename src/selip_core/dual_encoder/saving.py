"""How dual encoders are saved: the scale of their logits, and both encoders by what they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Their kinds are registered by being imported.
import selip_core.encoders.saving
import selip_core.text.saving  # noqa: F401
from selip_core.dual_encoder.model import DualEncoder
from selip_core.pretrained import STRICT, Kind, build, describe, register_kind
from selip_core.pretrained.kinds import kind_of
from selip_core.pretrained.source import WeightsSource


@dataclass(frozen=True)
class SavedDualEncoder:
    """What ``config.json`` tells of a dual encoder.

    Attributes:
        maximum_logit_scale: Where the scale is clamped.
        learn_logit_scale: Whether the scale takes gradients.
        image_encoder: What is told of the image encoder, its kind among it.
        text_encoder: What is told of the text encoder.
    """

    __pydantic_config__ = STRICT
    maximum_logit_scale: float
    learn_logit_scale: bool
    image_encoder: dict[str, Any]
    text_encoder: dict[str, Any]


def _describe(model: DualEncoder, folder: Path) -> SavedDualEncoder:
    return SavedDualEncoder(
        model.maximum_logit_scale,
        model.log_logit_scale.requires_grad,
        describe(model.image_encoder, folder),
        describe(model.text_encoder, folder),
    )


def _build(saved: SavedDualEncoder, folder: Path, where: str) -> DualEncoder:
    model = DualEncoder(
        build(saved.image_encoder, folder, f"{where}.image_encoder"),
        build(saved.text_encoder, folder, f"{where}.text_encoder"),
        initial_logit_scale=1.0,  # read with the weights
        maximum_logit_scale=saved.maximum_logit_scale,
    )
    model.log_logit_scale.requires_grad_(saved.learn_logit_scale)
    return model


def _facts(model: DualEncoder) -> Mapping[str, str]:
    scale = f"{model.logit_scale.item():.4g}, at most {model.maximum_logit_scale:g}"
    parts = (model.image_encoder, model.text_encoder)
    facts = [fact for part in parts for fact in kind_of(part).facts(part).items()]
    return {**dict(facts), "Logit scale": scale}


def _sources(model: DualEncoder) -> list[WeightsSource]:
    parts = (model.image_encoder, model.text_encoder)
    return [source for part in parts for source in kind_of(part).sources(part)]


register_kind(
    Kind(
        name="dual_encoder",
        module=DualEncoder,
        home="selip_core",
        task="zero-shot-image-classification",
        settings=SavedDualEncoder,
        describe=_describe,
        build=_build,
        facts=_facts,
        sources=_sources,
    )
)
