"""How text encoders are saved: tokenizer and configuration of the backbone beside the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selip_core.pretrained import STRICT, Kind, register_kind
from selip_core.pretrained.source import WeightsSource
from selip_core.text.chunking import Chunking
from selip_core.text.encoder import TextEncoder
from selip_core.text.lora import Lora

UNKNOWN = "its licence is not known here"
"""A backbone does not tell its licence."""

ARCHITECTURE = "text_encoder"
"""The folder of tokenizer and configuration, within that of the model."""


@dataclass(frozen=True)
class SavedTextEncoder:
    """What ``config.json`` tells of a text encoder.

    Attributes:
        name: Of the backbone on the Hugging Face hub; None if it came from a folder.
        embed_dim: Length of an embedding.
        pooling: Over the tokens.
        max_length: Tokens that are read at once.
        frozen: Whether the backbone stays as it is.
        lora: Of the adapters, if it has them.
        chunking: How longer texts are read, if they are not cut off.
        pretrained: Whether the backbone started from the model's weights.
    """

    __pydantic_config__ = STRICT
    name: str | None
    embed_dim: int
    pooling: str
    max_length: int
    frozen: bool
    lora: Lora | None
    chunking: Chunking | None
    pretrained: bool = True


def _describe(encoder: TextEncoder, folder: Path) -> SavedTextEncoder:
    encoder.save_architecture(folder / ARCHITECTURE)
    return SavedTextEncoder(
        encoder.name_on_hub,  # a path would tell of the machine that it is on
        encoder.embed_dim,
        encoder.pooling,
        encoder.max_length,
        encoder.frozen,
        encoder.lora,
        encoder.tokenize.chunking,
        encoder.pretrained,
    )


def _build(saved: SavedTextEncoder, folder: Path, where: str) -> TextEncoder:
    settings = vars(saved) | {"pretrained": False}  # the weights are those of the folder
    del settings["name"]
    encoder = TextEncoder(folder / ARCHITECTURE, **settings)
    encoder.pretrained = saved.pretrained
    encoder.name = saved.name or encoder.name
    encoder.name_on_hub = saved.name
    return encoder


def _facts(encoder: TextEncoder) -> Mapping[str, str]:
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    kind = type(encoder.backbone).__name__
    return {
        "Text encoder": f"{kind}, pooling {encoder.pooling}, {parameters:,} parameters",
        "Texts": f"{encoder.max_length} tokens "
        + ("at once, longer ones in chunks" if encoder.tokenize.chunking else "at most"),
        "Text embedding": f"{encoder.embed_dim} numbers, not normalised",
    }


def _sources(encoder: TextEncoder) -> list[WeightsSource]:
    if not encoder.pretrained:
        return []
    name = encoder.name_on_hub
    if name is None:
        return [WeightsSource("text model of a folder", UNKNOWN, "")]
    return [WeightsSource(name, UNKNOWN, f"https://huggingface.co/{name}")]


register_kind(
    Kind(
        name="text_encoder",
        module=TextEncoder,
        home="selip_core.text",
        task="feature-extraction",
        settings=SavedTextEncoder,
        describe=_describe,
        build=_build,
        facts=_facts,
        sources=_sources,
    )
)
