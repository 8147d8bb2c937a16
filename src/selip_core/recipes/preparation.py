"""What the volumes of a run are like, held against those that pretrained weights come from."""

import math
import warnings
from dataclasses import replace

from selip_core.encoders import ImageEncoderSpec
from selip_core.recipes.config import DataConfig

_ORIENTATION = "SAR"
"""Of every volume that ``Preprocessing`` gives."""


def prepared_spec(spec: ImageEncoderSpec, data: DataConfig) -> ImageEncoderSpec:
    """The spec of an encoder that is trained on volumes prepared as the data section says."""
    return replace(spec, spacing=data.spacing, intensity=_intensity(data), orientation=_ORIENTATION)


def warn_other_preparation(spec: ImageEncoderSpec, data: DataConfig) -> None:
    """Warn with a UserWarning of what pretrained weights know otherwise than this run's volumes.

    Weights from other spacings, intensities or axes still load and train, and are worth less: that
    would go unnoticed. What is not known of them is not compared.

    Args:
        spec: Of an encoder whose weights were just loaded.
        data: How the run prepares volumes.

    Example:
        >>> spec = ImageEncoderSpec(1, (8,), ((2, 2, 2),), (2, 2, 2), spacing=(1.0, 1.0, 1.0))
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warn_other_preparation(spec, DataConfig())
        >>> print(str(caught[0].message).splitlines()[1])
          spacing: (1, 1, 1) mm there, (4, 4, 4) mm here; data.spacing sets it
    """
    differences = []
    if spec.spacing is not None and not _are_close(spec.spacing, data.spacing):
        there, here = _millimetres(spec.spacing), _millimetres(data.spacing)
        differences.append(f"spacing: {there} there, {here} here; data.spacing sets it")
    if spec.intensity not in (ImageEncoderSpec.intensity, _intensity(data)):
        differences.append(f"intensity: {spec.intensity} there, {_intensity(data)} here")
    if spec.orientation != _ORIENTATION:
        differences.append(f"axes grow to: {spec.orientation} there, {_ORIENTATION} here")
    if differences:
        told = "\n  ".join(differences)
        warnings.warn(
            "the weights of image_encoder.pretrained know other volumes than this run prepares:"
            f"\n  {told}\nNothing converts them. Training may adapt them; whether they help, a run "
            "without them tells",
            stacklevel=2,
        )


def _intensity(data: DataConfig) -> str:
    lower, upper = data.percentiles
    return (
        f"clipped at percentiles {lower:g} and {upper:g}, then zero mean and unit variance over "
        "the voxels above the mean"
    )


def _are_close(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(math.isclose(a, b, rel_tol=0.01) for a, b in zip(one, other, strict=True))


def _millimetres(spacing: tuple[float, ...]) -> str:
    return f"({', '.join(f'{each:g}' for each in spacing)}) mm"
