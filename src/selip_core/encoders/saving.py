"""How image encoders are saved, and built again from their name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from selip_core.encoders.arguments import wrong_arguments
from selip_core.encoders.dry_run import dry_run
from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.pooling import PoolingChoice
from selip_core.encoders.registry import build, option_parameters
from selip_core.encoders.settings import ImageEncoderSettings
from selip_core.errors import DataError, Problem
from selip_core.pretrained import STRICT, Kind, register_kind
from selip_core.pretrained.folder import WEIGHTS, saved_settings
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


class _AsItIs:
    """Tells pydantic to take no boolean, text or decimal for a whole number."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler(source) | {"strict": True}


@dataclass(frozen=True)
class SavedImageEncoder:
    """What ``config.json`` tells of an image encoder.

    Attributes:
        name: The name it is registered by.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: Name of its pooling, with its options if it was given some.
        options: Options of this encoder.
        trained_on: What was trained on.
    """

    __pydantic_config__ = STRICT
    name: str
    in_channels: Annotated[int, _AsItIs()]
    embed_dim: Annotated[int, _AsItIs()]
    pooling: str | tuple[str, dict[str, Any]]
    options: dict[str, Any]
    trained_on: SavedVolumes

    @property
    def settings(self) -> ImageEncoderSettings:
        """What makes the encoder again."""
        values = {key: value for key, value in vars(self).items() if key != "trained_on"}
        return ImageEncoderSettings.from_json(values)


def read_saved(weights: Path) -> SavedImageEncoder | None:
    """Return what is told of the encoder whose weights ``save_pretrained`` wrote.

    None if it did not write this file: what stands beside others is not about them.

    Raises:
        ValueError: If the folder is of a newer format or damaged.
    """
    if weights.name != WEIGHTS:
        return None
    saved = saved_settings(ImageEncoder, weights.parent)
    assert saved is None or isinstance(saved, SavedImageEncoder)
    return saved


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
    made = _shapes(settings)
    has = encoder.state_dict()
    changed = sorted(
        name
        for name in made.keys() | has.keys()
        if name not in made or name not in has or made[name] != has[name].shape
    )
    if changed:
        raise ValueError(
            f"this {type(encoder).__name__} is no longer what {settings.name!r} makes: "
            f"{', '.join(changed[:3])} and {max(0, len(changed) - 3)} more differ. Register an "
            "encoder that makes it as it is (register_image_encoder), and create it by that name"
        )


def _shapes(settings: ImageEncoderSettings) -> dict[str, torch.Size]:
    """The shapes of a new encoder's tensors, drawn only where it cannot be made without."""
    made = dry_run(lambda: build(settings))
    return {name: tensor.shape for name, tensor in made.state_dict().items()}


def _build(saved: SavedImageEncoder, folder: Path, where: str) -> nn.Module:
    problems = [
        Problem(f"{where}.{key}", f"must be at least 1, got {getattr(saved, key)}")
        for key in ("in_channels", "embed_dim")
        if getattr(saved, key) < 1
    ]
    wrong = wrong_arguments(option_parameters(saved.name), saved.options)
    problems += [Problem(f"{where}.options.{name}", told) for name, told in wrong.items()]
    if problems:
        raise DataError(f"{where} cannot be used", problems)
    encoder = build(saved.settings)
    encoder.spec = replace(encoder.spec, **vars(saved.trained_on))  # type: ignore[type-var]
    return encoder


def _facts(encoder: ImageEncoder) -> Mapping[str, str]:
    spec, settings = encoder.spec, encoder.settings
    return {
        "Image encoder": f"{_made(settings)}{spec.parameter_count:,} parameters",
        "Volumes": f"channels: {spec.in_channels}; depth x height x width at least "
        f"{_told(spec.minimum_size)}, multiples of {_told(spec.divisor)}"
        + (f", above {_told(above)} along an axis" if (above := spec.normalized_stride) else "")
        + f"; axes grow to {spec.orientation}",
        "Voxels": f"{_told(spec.spacing)} mm"
        if spec.spacing
        else "of any size, as far as is known",
        "Intensity": spec.intensity,
        "Image embedding": f"{encoder.embed_dim} numbers, not normalised",
    }


def _made(settings: ImageEncoderSettings | None) -> str:
    if settings is None:
        return ""
    encoder = _named(settings.name, settings.options)
    return f"{encoder}, pooling {_named_pooling(settings.pooling)}, "


def _named_pooling(pooling: PoolingChoice) -> str:
    if callable(pooling):
        return "of its own"
    return pooling if isinstance(pooling, str) else _named(*pooling)


def _named(name: str, options: Mapping[str, Any]) -> str:
    told = ", ".join(f"{key}: {_told(value)}" for key, value in options.items())
    return f"{name} ({told})" if told else name


def _told(value: Any) -> str:
    """A value as people write it: sizes with a cross between, numbers without idle digits."""
    if isinstance(value, tuple):
        return " x ".join(map(_told, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


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
