"""Weights from a file into an encoder, all that fit or none."""

import logging
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.spec import ImageEncoderSpec, Size
from selip_core.encoders.trained import find_weights
from selip_core.encoders.weights.channels import Channels, require_mode
from selip_core.encoders.weights.errors import (
    fits_in_part,
    no_first_layer,
    no_floats,
    too_little,
    unusable_values,
)
from selip_core.encoders.weights.file import WeightsFile, missing_error, read_weights, require_path
from selip_core.encoders.weights.formats import SELIP, choose_format
from selip_core.encoders.weights.header import PREFIX, told_grid, told_source, told_spacing
from selip_core.encoders.weights.layout import WeightFormat
from selip_core.encoders.weights.matching import Adaptation, Match, match
from selip_core.encoders.weights.network import POOLING, first_layer, places, untold_options
from selip_core.encoders.weights.report import LoadReport, listed
from selip_core.encoders.weights.values import wrong_types, wrong_values
from selip_core.encoders.weights.wrappers import unwrap
from selip_core.pretrained.source import WeightsSource

_log = logging.getLogger(__name__)


def load_weights(
    encoder: ImageEncoder,
    path: str | os.PathLike[str],
    format: str = "auto",
    channels: Channels = "sum",
    minimum_share: float = 0.9,
    grid: Size | None = None,
    random_first_layer: bool = False,
    partial_layers: bool = False,
    prefix: str | None = None,
) -> LoadReport:
    """Load published weights into an encoder, and return what fitted.

    A first layer for another number of channels, positional embeddings of another grid and tables
    of another window are adapted; any other tensor of another shape is left out, never loaded in
    part. Of what no tensor shows, such as the strides behind a ResNet's stem or the heads of a
    ViT, the report tells what is known; an encoder that was made otherwise is warned of. What is
    loaded sets the encoder's ``spec``: where the weights come from, and the spacing, intensity and
    orientation that they expect, as far as they are known.

    Args:
        encoder: The encoder; changed in place.
        path: A file of safetensors, or a folder with one, such as ``save_pretrained`` makes. A file
            of PyTorch (.pth, .pt, .ckpt, .bin) is converted once by ``selip convert-weights``.
        format: The layout of the file, one of ``WEIGHT_FORMATS``; ``"auto"`` knows it by the names.
        channels: How a first layer gets another number of channels: ``"sum"``, ``"mean"`` or
            ``"repeat"``, as :func:`~selip_core.encoders.weights.adapt_channels` says.
        minimum_share: Share, in ``[0, 1]``, that must fit of the encoder's parameters without its
            pooling, and of the file's without its heads.
        grid: Patches along (depth, height, width) that the file's positional embeddings stand for;
            by default what the file's header tells, else a cube.
        random_first_layer: Load the rest even where the first layer does not fit, and stays random.
        partial_layers: Load the rest even where layers of the file have a bias or another tensor
            that the encoder's lack, or where the file lacks the encoder's running statistics.
        prefix: Only tensors whose names begin with it are read, without it: one of several
            networks in the file, such as ``"model_ema.module."``; ``""`` where only the other has
            a prefix.

    Returns:
        What was loaded; ``print`` it.

    Raises:
        WeightsError: If too little fits, the first layer does not, layers fit in part only, or
            values are such as no trained network has (NaN, layers of zeros, whole numbers of a
            quantised export); the encoder is as it was.
        ValueError: If the file is no file of safetensors, is damaged, or is of no known format or
            of several; if it holds several copies of a network, or other types than floating point
            where weights belong; or if an argument is none of its choices, such as tensors as
            ``path``.
        OSError: If the file is not there, or cannot be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from safetensors.torch import save_file
        >>> from selip_core import create_image_encoder
        >>> trained = create_image_encoder("resnet10", embed_dim=8, width=1 / 16)
        >>> path = Path(tempfile.mkdtemp()) / "trained.safetensors"
        >>> save_file(trained.state_dict(), path)
        >>> encoder = create_image_encoder("resnet10", in_channels=3, embed_dim=8, width=1 / 16)
        >>> report = load_weights(encoder, path)
        >>> report.format, report.share, report.adapted
        ('selip', 1.0, {'network.conv1.weight': '1 input channels to 3 (sum)'})
    """
    require_mode(channels)
    if not 0 <= minimum_share <= 1:
        raise ValueError(f"minimum_share must be from 0 to 1, got {minimum_share}")
    file = read_weights(_located(path))
    known = {name: place.tensor for place in places(encoder) for name in place.names}
    unwrapped = unwrap(file.tensors, known, prefix, file.path.name)
    layout = choose_format(format, unwrapped.tensors, prefix or file.metadata.get(PREFIX, ""))
    wrong = wrong_types(unwrapped.tensors, layout.rename(unwrapped.tensors, known).kept, known)
    if wrong:
        raise no_floats(file.path.name, wrong)
    adapt = Adaptation(encoder, channels, grid or told_grid(file), layout is not SELIP)
    found = match(layout, unwrapped.tensors, adapt)
    found.ignored += unwrapped.ignored
    report = _report(file, layout, found, encoder)
    if min(report.share, report.used_share) < minimum_share:
        raise too_little(report, minimum_share)
    first = _random_first_layer(encoder, found)
    if first is not None and not random_first_layer:
        raise no_first_layer(report, first, layout.encoders)
    missing = _missing_statistics(found)
    if (found.excess or missing) and not partial_layers:
        raise fits_in_part(report, encoder, found.excess, missing)
    if problems := wrong_values(encoder, found):
        raise unusable_values(report, problems)
    spec = _described(encoder.spec, layout, report.source, told_spacing(file))
    with torch.no_grad():
        for place, value in (*found.matched, *found.filled):
            place.tensor.copy_(value)
    _warn(report.file, "does not fit these parameters, which stay random", report.unmatched_encoder)
    _warn(report.file, "has no values for these running statistics", missing)
    _warn(report.file, "has what no place was found for", found.unused_in_shared_parts)
    _warn_if_trained_otherwise(report)
    encoder.spec = spec
    _log.info("loaded weights\n%s", report)
    return report


def _located(path: str | os.PathLike[str]) -> Path:
    path = require_path(path)
    if not path.exists():
        raise missing_error(path, "a file of safetensors, or a folder with one")
    return find_weights(path) if path.is_dir() else path


def _warn(file: str, what: str, names: Collection[str]) -> None:
    if names:
        _log.warning("%s %s: %s", file, what, listed(names))


def _warn_if_trained_otherwise(report: LoadReport) -> None:
    if report.differing:
        _log.warning(
            "%s (format %s) fits by its shapes, but was trained in another network: the encoder "
            "it was trained in is made with %s",
            report.file,
            report.format,
            ", ".join(f"{option}={value!r}" for option, value in report.differing.items()),
        )


def _missing_statistics(found: Match) -> list[str]:
    """Names of buffers that the network computes with, and the file lacks."""
    return [
        place.name
        for place in found.unmatched
        if not place.is_parameter
        and not place.name.startswith(POOLING)
        and not place.name.endswith("num_batches_tracked")  # which older files lack
    ]


def _random_first_layer(encoder: ImageEncoder, found: Match) -> str | None:
    """The name of the first layer's weight, if nothing in the file fits it."""
    first = first_layer(encoder)
    return next((place.name for place in found.unmatched if place.tensor is first), None)


def _report(
    file: WeightsFile, layout: WeightFormat, found: Match, encoder: ImageEncoder
) -> LoadReport:
    matched = sum(place.tensor.numel() for place, _ in found.matched if place.counts)
    filled = sum(place.tensor.numel() for place, _ in found.filled if place.counts)
    missing = [place for place in found.unmatched if place.counts]
    return LoadReport(
        file=file.path.name,
        format=layout.name,
        source=told_source(file, layout.source),
        matched=tuple(place.name for place, _ in found.matched),
        matched_parameters=matched,
        encoder_parameters=matched + filled + sum(place.tensor.numel() for place in missing),
        used_parameters=matched,
        file_parameters=matched + sum(found.unused_in_shared_parts.values()),
        adapted=found.adapted,
        unmatched_file=tuple(found.unused),
        unmatched_encoder=tuple(place.name for place in missing),
        mismatched=found.mismatched,
        missing_buffers=tuple(p.name for p in found.unmatched if not p.is_parameter),
        untold=untold_options(encoder, layout.trained_with),
        ignored=found.ignored,
        pooling_loaded=any(place.name.startswith(POOLING) for place, _ in found.matched),
    )


def _described(
    spec: ImageEncoderSpec,
    layout: WeightFormat,
    source: WeightsSource,
    spacing: tuple[float, float, float] | None,
) -> ImageEncoderSpec:
    # Nothing of other weights, which these replace, holds for them.
    spec = spec if spec.weights is None else spec.without_weights()
    return replace(
        spec,
        weights=source,
        spacing=spacing or layout.spacing or spec.spacing,
        intensity=layout.intensity or spec.intensity,
        orientation=layout.orientation or spec.orientation,
    )
