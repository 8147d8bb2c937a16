"""An image encoder by name, with random or trained weights."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.pooling import PoolingChoice
from selip_core.encoders.registry import all_options, build, list_image_encoders
from selip_core.encoders.saving import read_saved
from selip_core.encoders.settings import ImageEncoderSettings
from selip_core.encoders.trained import find_weights

_log = logging.getLogger(__name__)


def create_image_encoder(
    name: str,
    in_channels: int = 1,
    embed_dim: int = 512,
    pooling: PoolingChoice = "avg",
    pretrained: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    **options: Any,
) -> ImageEncoder:
    """Return a new encoder, with random weights or those given, in training mode.

    It is what you describe here, whatever the weights come from: other channels, another pooling or
    other options may fit as well, and for what a saved folder was made with and this is not, there
    is a warning. For the encoder as it was saved, in evaluation mode, ask
    ``ImageEncoder.from_pretrained``.

    Args:
        name: One of :func:`list_image_encoders`.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: ``"avg"`` (mean), ``"gem"`` (a learned mean between the mean and the maximum),
            ``"attention"`` or ``"grid"`` (both keep position), ``"cls"`` (the class token, where a
            transformer has one), a name with options such as ``("grid", {"grid": (2, 4, 4)})``, or
            a function of (channels, embed_dim) that returns a module.
        pretrained: Where weights are: a file of safetensors in one of the published layouts, a
            folder that ``save_pretrained`` made, or the name ``"owner/model"`` of one on the
            Hugging Face hub (the only choice that uses the network, and only once).
        revision: Branch, tag or commit of the hub's model; a commit pins its content.
        **options: Options of this encoder, such as ``width`` of a ResNet.

    Raises:
        ValueError: If no encoder has this name, or if it has no such option; the message names
            close matches or the options allowed. If the weights are pickled, or fit too few of the
            encoder's parameters: ``selip_core.encoders.weights.load_weights`` tells what fits. If a
            revision is given for anything but a model of the hub.
        OSError: If no weights are there, or if the hub cannot be reached.

    Example:
        >>> import torch
        >>> encoder = create_image_encoder("resnet10", embed_dim=64, pooling="grid", width=0.25)
        >>> encoder(torch.zeros(2, 1, 8, 32, 32)).shape
        torch.Size([2, 64])
        >>> [tuple(x.shape) for x in encoder.forward_features(torch.zeros(2, 1, 8, 32, 32))][-1]
        (2, 128, 1, 1, 1)
    """
    if pretrained is None and revision is not None:
        raise ValueError("revision is that of a model of the hub: name one as pretrained")
    weights = None if pretrained is None else find_weights(pretrained, revision)
    settings = ImageEncoderSettings(name, in_channels, embed_dim, pooling, options)
    encoder = build(settings)
    if not isinstance(encoder, ImageEncoder):
        raise ValueError(
            f"what is registered as {name!r} must make an ImageEncoder, got {type(encoder)}"
        )
    if weights is not None:
        _load(encoder, settings, weights)
    return encoder


def _load(encoder: ImageEncoder, settings: ImageEncoderSettings, weights: Path) -> None:
    from selip_core.encoders.weights import load_weights

    saved = read_saved(weights)
    try:
        load_weights(encoder, weights)
    except ValueError as error:
        if not hasattr(encoder, "load_timm_weights"):
            raise
        raise ValueError(
            f"{error}\n  if these are weights of 2D images in the layout of timm, create the "
            "encoder without pretrained, and then call encoder.load_timm_weights(file)"
        ) from error
    if saved is None:
        return
    _warn_if_made_otherwise(settings, saved.settings, weights.parent)
    known = {key: value for key, value in vars(saved.trained_on).items() if value is not None}
    encoder.spec = replace(encoder.spec, **known)


def _warn_if_made_otherwise(
    settings: ImageEncoderSettings, saved: ImageEncoderSettings, folder: Path
) -> None:
    """Warn of settings that differ from the saved encoder's: weights may fit another network."""
    ours, theirs = _made_with(settings), _made_with(saved)
    differences = [
        f"{key} {theirs.get(key)!r} there and {ours.get(key)!r} here"
        for key in ours | theirs
        if ours.get(key) != theirs.get(key)
    ]
    if differences:
        _log.warning(
            "the encoder of %s was made otherwise, and what fits was taken: %s; "
            "ImageEncoder.from_pretrained makes it as it was",
            folder,
            ", ".join(differences),
        )


def _made_with(settings: ImageEncoderSettings) -> dict[str, Any]:
    values = {key: getattr(settings, key) for key in ("name", "embed_dim", "pooling")}
    # What is not registered here is a difference by its name alone.
    known = settings.name in list_image_encoders()
    options = all_options(settings) if known else settings.options
    return values | {
        key: tuple(each) if isinstance(each, list) else each for key, each in options.items()
    }
