"""Weights of 2D images: what timm publishes, or a file in its layout. No pickle is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.timm_network import TimmModel, require_timm
from selip_core.encoders.trained import PICKLED, pickled_error
from selip_core.pretrained.folder import WEIGHTS
from selip_core.pretrained.hub import hub_file
from selip_core.pretrained.source import WeightsSource

ENDING = ".safetensors"
_FLOATS = frozenset({"weight", "bias", "running_mean", "running_var"})


@dataclass(frozen=True)
class TimmWeights:
    """A model's weights, and what is known of them.

    Attributes:
        tensors: By their names in timm.
        source: Where they come from.
        intensity: How timm scales the images for this model.
    """

    tensors: Mapping[str, Tensor]
    source: WeightsSource
    intensity: str

    def load(self, model: TimmModel, classes: int | None = None) -> nn.Module:
        """Return the network with the weights.

        Raises:
            ValueError: If they do not fit.
        """
        try:
            return model.trained(self.tensors, classes)
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{self.source.name} does not fit timm's {model.name}: {error}"
            ) from error

    def require_usable(self, encoder: ImageEncoder, trained: Mapping[str, Tensor]) -> None:
        """Refuse values that no trained network has.

        Args:
            encoder: The encoder, before it has them.
            trained: The values, by their names in ``encoder.network``.

        Raises:
            ValueError: If there are some; the message has the names.
        """
        from selip_core.encoders.weights.matching import Match
        from selip_core.encoders.weights.network import places
        from selip_core.encoders.weights.values import wrong_values
        from selip_core.weight_values import described

        named = {f"network.{name}": tensor for name, tensor in trained.items()}
        own = [place for place in places(encoder) if place.name in named]
        problems = wrong_values(encoder, Match([(place, named[place.name]) for place in own]))
        if problems:
            raise ValueError(f"{self.source.name} {described(problems)}")


def read_timm_weights(model: TimmModel, file: Path) -> TimmWeights:
    """Return the weights of a file of safetensors.

    Raises:
        ValueError: If the file is pickled, damaged or empty.
        OSError: If it cannot be read.
    """
    if file.suffix.lower() in PICKLED:
        raise pickled_error(file)
    if file.suffix != ENDING:
        raise ValueError(f"weights must be a file of safetensors, got {file}")
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    tensors, told = _read(file)
    licence = told.get("licence", "not told by the file")
    source = WeightsSource(file.name, licence, told.get("url", ""))
    return TimmWeights(tensors, source, _intensity(model))


def published_timm_weights(model: TimmModel) -> TimmWeights:
    """Return the weights that timm publishes of a model, downloaded once.

    Raises:
        ValueError: If there are none as safetensors.
        OSError: If the hub cannot be reached.
    """
    published = model.published()
    name, _, revision = (published.hf_hub_id or "").partition("@")
    file = published.hf_hub_filename or WEIGHTS
    if not name or not file.endswith(ENDING):
        raise ValueError(
            f"timm publishes no weights of {model.name} as safetensors: name a file; one that is "
            "pickled is converted by `selip convert-weights`"
        )
    tensors, _told = _read(hub_file(name, file, revision or None))
    licence = published.license or "not told by timm"
    source = WeightsSource(name, licence, f"https://huggingface.co/{name}")
    return TimmWeights(tensors, source, _intensity(model))


def _read(file: Path) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    """Return tensors by timm's names, and what the header tells."""
    from selip_core.encoders.weights.errors import no_floats
    from selip_core.encoders.weights.file import read_weights
    from selip_core.encoders.weights.values import wrong_types
    from selip_core.encoders.weights.wrappers import unwrap

    read = read_weights(file)
    if not read.tensors:
        raise ValueError(f"{file} holds no tensors")
    tensors = require_timm().models.clean_state_dict(
        unwrap(read.tensors, (), file=file.name).tensors
    )
    floats = {name: torch.empty(0) for name in tensors if name.rpartition(".")[2] in _FLOATS}
    if wrong := wrong_types(tensors, {name: name for name in tensors}, floats):
        raise no_floats(file.name, wrong)
    return tensors, read.metadata


def _intensity(model: TimmModel) -> str:
    published = model.published()
    mean, deviation = published.mean, published.std
    if len(mean) != model.in_channels:
        mean, deviation = (fmean(mean),), (fmean(deviation),)
    return f"values from 0 to 1, less {_numbers(mean)}, divided by {_numbers(deviation)}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
