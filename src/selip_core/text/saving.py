"""How text encoders are saved: tokenizer and configuration of the backbone beside the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selip_core.pretrained import STRICT, Kind, register_kind
from selip_core.pretrained.source import WeightsSource
from selip_core.text.chunking import Chunking
from selip_core.text.encoder import TextEncoder
from selip_core.text.lora import Lora

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
    """

    __pydantic_config__ = STRICT
    name: str | None
    embed_dim: int
    pooling: str
    max_length: int
    frozen: bool
    lora: Lora | None
    chunking: Chunking | None


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
    )


def _build(saved: SavedTextEncoder, folder: Path, where: str) -> TextEncoder:
    settings = {key: value for key, value in vars(saved).items() if key != "name"}
    encoder = TextEncoder(folder / ARCHITECTURE, **settings, pretrained=False)
    encoder.name = saved.name or encoder.name
    encoder.name_on_hub = saved.name
    return encoder


def _facts(encoder: TextEncoder) -> Mapping[str, str]:
    name = encoder.name_on_hub
    started = f"; it started from {name}, which has a licence of its own" if name else ""
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    kind = type(encoder.backbone).__name__
    return {
        "Text encoder": f"{kind}, pooling {encoder.pooling}, {parameters:,} parameters{started}",
        "Texts": f"{encoder.max_length} tokens "
        + ("at once, longer ones in chunks" if encoder.tokenize.chunking else "at most"),
        "Text embedding": f"{encoder.embed_dim} numbers, not normalised",
    }


def _sources(encoder: TextEncoder) -> list[WeightsSource]:
    return []  # a backbone does not tell its licence


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
