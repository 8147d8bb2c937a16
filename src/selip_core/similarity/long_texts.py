"""Read texts longer than a sentence encoder's limit in parts, or cut them with a warning."""

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor

LongTexts: TypeAlias = Literal["chunk", "cut"]
"""How texts are read that are longer than a sentence-transformers model reads at once:

- ``"chunk"``: in parts, halved at the ends of sentences until each fits; the embedding is the mean
  of those of the parts, weighted by their tokens;
- ``"cut"``: as far as the model reads, with a warning that says how many texts were cut.

Other encoders state no limit, and get every text whole.
"""

_UNLIMITED = 1_000_000
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n+")
_SPACE = re.compile(r"\s+")


def require_long_texts(long_texts: object) -> None:
    """Refuse a setting that is not one of :data:`LongTexts`.

    Raises:
        ValueError: If so.
    """
    if long_texts not in ("chunk", "cut"):
        raise ValueError(f"long_texts must be 'chunk' or 'cut', got {long_texts!r}")


@final
@dataclass(frozen=True)
class TokenLimit:
    """The tokens that a sentence-transformers model reads of a text, and how they are counted.

    Attributes:
        tokens: The most that it reads, special tokens and prompt included.
        tokenizer: Of transformers.
        prompt: Words that the model puts before every text.
        lowers: Whether the model lowers the case first.
    """

    tokens: int
    tokenizer: Any
    prompt: str
    lowers: bool

    @classmethod
    def of(cls, model: Any) -> "TokenLimit | None":
        """Return the limit of a model; ``None`` for one that has none or does not state it."""
        library = sys.modules.get("sentence_transformers")
        if library is None or not isinstance(model, library.SentenceTransformer):
            return None
        from transformers import PreTrainedTokenizerBase

        tokenizer = model.tokenizer
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            return None
        tokens = model.max_seq_length or tokenizer.model_max_length
        if tokens > _UNLIMITED:
            return None
        prompt = (model.prompts or {}).get(model.default_prompt_name) or ""
        return cls(int(tokens), tokenizer, prompt, bool(getattr(model[0], "do_lower_case", False)))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text as the model would read it without a limit."""
        words = [self.prompt + text for text in texts]
        rows: list[list[int]] = self.tokenizer(
            [text.lower() for text in words] if self.lowers else words,
            truncation=False,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        return list(map(len, rows))


@final
class TextReader:
    """Embeds texts of any length by one encoder, and counts those that it cuts.

    Args:
        model: With ``encode``, or any callable from texts to a matrix.
        long_texts: See :data:`LongTexts`.

    Example:
        >>> reader = TextReader(lambda texts: [[len(text), 1.0] for text in texts], "chunk")
        >>> reader(["pons", "insula"])
        [[4, 1.0], [6, 1.0]]
    """

    def __init__(self, model: Any, long_texts: LongTexts) -> None:
        self._encode = getattr(model, "encode", model)
        self._limit = TokenLimit.of(model)
        self._reads_all = long_texts == "chunk"
        self._texts = self._cut = 0

    def __call__(self, texts: list[str]) -> Any:
        """Return a matrix with one row per text, as the encoder gives it."""
        if self._limit is None:
            return self._encode(texts)
        counts = self._limit.count(texts)
        most = self._limit.tokens
        if self._reads_all and max(counts) > most:
            return self._encode_in_parts(texts, counts, self._limit)
        self._texts += len(texts)
        self._cut += sum(count > most for count in counts)
        return self._encode(texts)

    def warn(self) -> None:
        """Warn if texts were cut, with their number and without any text."""
        if self._limit is not None and self._cut:
            warnings.warn(
                f"{self._cut} of {self._texts} distinct texts ({self._cut / self._texts:.0%}) are "
                f"longer than the {self._limit.tokens} tokens that the sentence encoder reads, and "
                "the rest of each was cut off; long_texts='chunk' reads them to the end",
                stacklevel=2,
            )

    def _encode_in_parts(
        self, texts: list[str], counts: list[int], limit: TokenLimit
    ) -> Float[Tensor, "texts r"]:
        """Return of each text the mean embedding of its parts, weighted by their tokens."""
        parts = [
            (owner, *part)
            for owner, (text, count) in enumerate(zip(texts, counts, strict=True))
            for part in _parts(text, count, limit)
        ]
        owners, words, tokens = map(list, zip(*parts, strict=True))
        embeddings = torch.as_tensor(self._encode(words)).detach().cpu()
        rows = torch.nn.functional.normalize(embeddings.double())
        (around,) = limit.count([""])
        weights = (torch.tensor(tokens) - around).clamp(min=1).double()
        sums = rows.new_zeros(len(texts), rows.shape[1])
        return sums.index_add_(0, torch.tensor(owners), rows * weights[:, None])


def _parts(text: str, count: int, limit: TokenLimit) -> list[tuple[str, int]]:
    """Return the parts of a text in order, each with its tokens."""
    if count <= limit.tokens or len(text) < 2:
        return [(text, count)]
    halves = _halves(text)
    counts = limit.count(halves)
    return [
        part for half, own in zip(halves, counts, strict=True) for part in _parts(half, own, limit)
    ]


def _halves(text: str) -> list[str]:
    """Return two halves, parted at the end of a sentence, else at a space, near the middle.

    Example:
        >>> _halves("No mass. A small infarct.")
        ['No mass.', 'A small infarct.']
        >>> _halves("abcd")
        ['ab', 'cd']
    """
    middle = len(text) / 2
    for boundary in (_SENTENCE_END, _SPACE):
        near = [
            found
            for found in boundary.finditer(text)
            if middle / 2 <= found.start() and found.end() <= 3 * middle / 2
        ]
        if near:
            best = min(near, key=lambda found: abs(found.start() + found.end() - 2 * middle))
            return [text[: best.start()], text[best.end() :]]
    return [text[: len(text) // 2], text[len(text) // 2 :]]
