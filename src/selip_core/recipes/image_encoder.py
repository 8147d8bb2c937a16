"""The image encoder that a configuration describes: built, and tried before anything is read."""

from collections.abc import Iterator

import torch

from selip_core.encoders import ImageEncoder, create_image_encoder
from selip_core.encoders.dry_run import dry_run
from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.preparation import prepared_spec, warn_other_preparation


def build_image_encoder(config: PretrainConfig, pretrained: bool) -> ImageEncoder:
    """The image encoder at the start of training.

    Args:
        config: The settings.
        pretrained: False leaves it random whatever the settings say.

    Raises:
        ValueError: If it cannot be made, or weights do not fit.
        OSError: If its weights are not there.
    """
    settings = config.image_encoder
    encoder = _created(config, settings.pretrained if pretrained else None)
    if pretrained and settings.pretrained is not None:
        warn_other_preparation(encoder.spec, config.data)
    encoder.spec = prepared_spec(encoder.spec, config.data)
    encoder.gradient_checkpointing = settings.gradient_checkpointing
    return encoder.freeze(settings.freeze_stages) if settings.freeze_stages else encoder


def image_encoder_problems(config: PretrainConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield place and message of what cannot be made, or cannot take the volumes of the run.

    It is made without memory for its weights, and no weights are read.

    Example:
        >>> config = PretrainConfig(image_encoder={"options": {"width": 0.0}})
        >>> for place, message in image_encoder_problems(config):  # doctest: +ELLIPSIS
        ...     print(place, message)
        ('image_encoder',) cannot be made: width must leave at least one of 64 channels ...
    """
    try:
        encoder = dry_run(lambda: _created(config, None))
    except ValueError as error:
        yield ("image_encoder",), f"cannot be made: {error}"
        return
    try:
        encoder.freeze(config.image_encoder.freeze_stages)
    except ValueError as error:
        yield ("image_encoder", "freeze_stages"), f"is not of this encoder: {error}"
    try:
        encoder.spec.check_input(torch.empty(1, 1, *config.data.size, device="meta"))
    except ValueError as error:
        yield ("data", "size"), f"does not suit image_encoder.name: {error}"


def require_image_encoder(config: PretrainConfig) -> None:
    """Refuse an image encoder that cannot be made, or that cannot take the volumes of the run.

    Raises:
        ValueError: If it cannot; the message names the section.

    Example:
        >>> config = PretrainConfig(data={"size": (48, 56, 3)}, image_encoder={"name": "vit_small"})
        >>> require_image_encoder(config)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: data.size does not suit image_encoder.name: volumes must have shape ...
    """
    wrong = [f"{'.'.join(place)} {message}" for place, message in image_encoder_problems(config)]
    if wrong:
        raise ValueError("; ".join(wrong))


def _created(config: PretrainConfig, weights: str | None) -> ImageEncoder:
    settings = config.image_encoder
    pooling, options = settings.pooling, settings.pooling_options
    return create_image_encoder(
        settings.name,
        in_channels=1,
        embed_dim=config.embed_dim,
        pooling=(pooling, options) if options else pooling,
        pretrained=weights,
        revision=settings.revision if weights else None,
        **settings.options,
    )
