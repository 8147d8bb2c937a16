"""Models saved to a folder with their card, and loaded from it or from the Hugging Face hub."""

from selip_core.pretrained.card import ModelCard
from selip_core.pretrained.folder import write_model
from selip_core.pretrained.kinds import Kind, build, describe, register_kind
from selip_core.pretrained.module import PretrainedModule
from selip_core.pretrained.schema import STRICT

__all__ = [
    "STRICT",
    "Kind",
    "ModelCard",
    "PretrainedModule",
    "build",
    "describe",
    "register_kind",
    "write_model",
]
