"""How study encoders are saved: their sizes, and the image encoder by what it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.study import StudyEncoder
from selip_core.pretrained import STRICT, Kind, build, describe, register_kind
from selip_core.pretrained.kinds import kind_of
from selip_core.pretrained.source import WeightsSource


@dataclass(frozen=True)
class SavedStudyEncoder:
    """What ``config.json`` tells of a study encoder.

    Attributes:
        sequences: Kinds of sequence that are told apart.
        layers: Transformer layers over the sequences.
        heads: Attention heads.
        sequence_dropout: Probability with which a sequence is left out in training.
        image_encoder: What is told of the image encoder, its kind among it.
    """

    __pydantic_config__ = STRICT
    sequences: tuple[str, ...]
    layers: int
    heads: int
    sequence_dropout: float
    image_encoder: dict[str, Any]


def _describe(encoder: StudyEncoder, folder: Path) -> SavedStudyEncoder:
    layers = cast(list[nn.TransformerEncoderLayer], encoder.attention.layers)
    return SavedStudyEncoder(
        encoder.sequences,
        len(layers),
        layers[0].self_attn.num_heads,
        encoder.sequence_dropout,
        describe(encoder.image_encoder, folder),
    )


def _build(saved: SavedStudyEncoder, folder: Path, where: str) -> StudyEncoder:
    image_encoder = build(saved.image_encoder, folder, f"{where}.image_encoder")
    settings = {key: value for key, value in vars(saved).items() if key != "image_encoder"}
    return StudyEncoder(cast(ImageEncoder, image_encoder), **settings)


def _facts(encoder: StudyEncoder) -> Mapping[str, str]:
    inner = encoder.image_encoder
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return {
        "Study encoder": f"any number of sequences, {parameters:,} parameters with the image's",
        "Sequences told apart": ", ".join(encoder.sequences),
        **kind_of(inner).facts(inner),
    }


def _sources(encoder: StudyEncoder) -> list[WeightsSource]:
    return list(kind_of(encoder.image_encoder).sources(encoder.image_encoder))


register_kind(
    Kind(
        name="study_encoder",
        module=StudyEncoder,
        home="selip_core.encoders",
        task="image-feature-extraction",
        settings=SavedStudyEncoder,
        describe=_describe,
        build=_build,
        facts=_facts,
        sources=_sources,
    )
)
