"""How image encoders are saved, and built again from their name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.registry import build
from selip_core.encoders.settings import ImageEncoderSettings
from selip_core.pretrained import STRICT, Kind, register_kind
from selip_core.pretrained.source import WeightsSource


@dataclass(frozen=True)
class SavedVolumes:
    """What is known of the volumes that the weights were trained on, and of the weights' origin.

    The rest of a spec follows from the network.

    Attributes:
        orientation: Where depth, height and width grow to.
        spacing: Millimetres a voxel, or None.
        intensity: How voxels are scaled.
        weights: Where the weights come from, or None.
    """

    __pydantic_config__ = STRICT
    orientation: str
    spacing: tuple[float, float, float] | None
    intensity: str
    weights: WeightsSource | None


@dataclass(frozen=True)
class SavedImageEncoder:
    """What ``config.json`` tells of an image encoder.

    Attributes:
        name: The name it is registered by.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: Name of its pooling.
        options: Options of this encoder.
        trained_on: What was trained on.
    """

    __pydantic_config__ = STRICT
    name: str
    in_channels: int
    embed_dim: int
    pooling: str
    options: dict[str, Any]
    trained_on: SavedVolumes


def _describe(encoder: ImageEncoder, folder: Path) -> SavedImageEncoder:
    if encoder.settings is None:
        raise ValueError(
            f"this {type(encoder).__name__} was not made by name, so that a folder cannot say how "
            "to make it again: make it by create_image_encoder; what is not known there by a name "
            "is registered by register_image_encoder"
        )
    _require_as_made(encoder, encoder.settings)
    spec = encoder.spec
    trained_on = SavedVolumes(spec.orientation, spec.spacing, spec.intensity, spec.weights)
    return SavedImageEncoder(**encoder.settings.to_json(), trained_on=trained_on)


def _require_as_made(encoder: ImageEncoder, settings: ImageEncoderSettings) -> None:
    """Refuse now what could not be loaded later: an encoder whose parts were exchanged."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        made = build(settings).state_dict()
    has = encoder.state_dict()
    changed = sorted(
        name
        for name in made.keys() | has.keys()
        if name not in made or name not in has or made[name].shape != has[name].shape
    )
    if changed:
        raise ValueError(
            f"this {type(encoder).__name__} is no longer what {settings.name!r} makes: "
            f"{', '.join(changed[:3])} and {max(0, len(changed) - 3)} more differ. Register an "
            "encoder that makes it as it is (register_image_encoder), and create it by that name"
        )


def _build(saved: SavedImageEncoder, folder: Path, where: str) -> nn.Module:
    values = {key: value for key, value in vars(saved).items() if key != "trained_on"}
    encoder = build(ImageEncoderSettings.from_json(values))
    encoder.spec = replace(encoder.spec, **vars(saved.trained_on))  # type: ignore[type-var]
    return encoder


def _facts(encoder: ImageEncoder) -> Mapping[str, str]:
    spec, settings = encoder.spec, encoder.settings
    made = "" if settings is None else f"{settings.name}, pooling {settings.pooling}, "
    millimetres = None if spec.spacing is None else " x ".join(f"{each:g}" for each in spec.spacing)
    return {
        "Image encoder": f"{made}{spec.parameter_count:,} parameters",
        "Volumes": f"channels: {spec.in_channels}; (depth, height, width) at least "
        f"{spec.minimum_size}, multiples of {spec.divisor}; axes grow to {spec.orientation}",
        "Voxels": f"{millimetres} mm" if millimetres else "of any size, as far as is known",
        "Intensity": spec.intensity,
        "Image embedding": f"{encoder.embed_dim} numbers, not normalised",
    }


def _sources(encoder: ImageEncoder) -> list[WeightsSource]:
    return [] if encoder.spec.weights is None else [encoder.spec.weights]


register_kind(
    Kind(
        name="image_encoder",
        module=ImageEncoder,
        home="selip_core.encoders",
        task="image-feature-extraction",
        settings=SavedImageEncoder,
        describe=_describe,
        build=_build,
        facts=_facts,
        sources=_sources,
    )
)
