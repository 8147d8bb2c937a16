"""Low-rank adapters: a few weights beside those of a pretrained model, which stay as they are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import nn

from selip_core._optional import require
from selip_core.text.arguments import is_number, require_count


@final
@dataclass(frozen=True)
class Lora:
    r"""Trains low-rank adapters of the backbone instead of its weights.

    Each adapted layer with weight :math:`W` computes :math:`(W + \frac{\alpha}{r} B A) x`, where
    :math:`A` and :math:`B` have rank :math:`r` and are all that learns; :math:`B` starts at 0, so
    that training starts from the pretrained model.

    Attributes:
        rank: :math:`r`, at least 1.
        alpha: :math:`\alpha`, above 0: how strongly the adapters count.
        dropout: Share of the adapters' inputs that is dropped in training, in [0, 1).
        target_modules: Ends of the names of the adapted layers, ``("query", "value")`` say, or
            ``"all-linear"``. ``None``: what peft takes for this architecture, mostly the
            projections to queries and values.

    Raises:
        ValueError: If one of them is of another type or out of its range.

    Source: LoRA (arXiv 2106.09685), equation 3, by way of ``peft``.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    target_modules: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        require_count("rank", self.rank)
        if not is_number(self.alpha) or self.alpha <= 0:
            raise ValueError(f"alpha must be a finite number above 0, got {self.alpha!r}")
        if not is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be a number in [0, 1), got {self.dropout!r}")
        if self.target_modules is not None and not _are_names(self.target_modules):
            raise ValueError(
                "target_modules must be the ends of layers' names, such as ('query', 'value'), or "
                f"'all-linear', or None, got {self.target_modules!r}"
            )


def add_adapters(backbone: Any, lora: Lora) -> None:
    """Put adapters into a model of transformers, in place; nothing else of it learns any more.

    Raises:
        ValueError: If the target modules are not to be found, or not known for this architecture.
        ImportError: If peft is not installed.
    """
    peft = require("peft", "lora")
    targets = lora.target_modules
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if targets is None or isinstance(targets, str) else list(targets),
        fan_in_fan_out=_stores_transposed_weights(backbone),
    )
    try:
        peft.inject_adapter_in_model(config, backbone)
    except ValueError as error:
        raise ValueError(
            f"no adapters can be put into this model ({backbone.config.model_type}): give its "
            "linear layers as target_modules, by the ends of their names, or 'all-linear'"
        ) from error


def merge_adapters(backbone: nn.Module) -> None:
    """Add what the adapters learned to the weights, in place, and take the adapters out."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            backbone.set_submodule(name, module.get_base_layer())


def _are_names(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return isinstance(names, Collection) and all(isinstance(name, str) for name in names)


def _stores_transposed_weights(backbone: nn.Module) -> bool:
    """Whether linear layers are GPT-2's convolutions of width 1."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in backbone.modules())
