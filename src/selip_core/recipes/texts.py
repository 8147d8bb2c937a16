"""Report texts, and their features while the projection is trained."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.data import Manifest
from selip_core.dual_encoder import DualEncoder, unit_norm
from selip_core.errors import DataError, Problem
from selip_core.findings import Report
from selip_core.text import TextEncoder


def report_text(report: Report, field: str) -> str | None:
    """The text under a key of the report, ``"text_zh"`` say, or None where it has none."""
    text = getattr(report, field, None)
    return text if isinstance(text, str) and text.strip() else None


def require_texts(manifest: Manifest, field: str) -> None:
    """Check that every row's report has a text under ``field``.

    Raises:
        DataError: Naming every row whose report has none.
    """
    problems = [
        Problem(
            manifest.place(index, "report"),
            f"this report has no text under {field!r}; add it, or set data.text to another key",
        )
        for index in range(len(manifest))
        if report_text(manifest.report_of(index), field) is None
    ]
    if problems:
        raise DataError(f"{manifest.path} names reports without text", problems)


def manifest_texts(manifest: Manifest, field: str) -> list[str]:
    """The text of each row's report; the rows have passed ``require_texts``."""
    return [report_text(manifest.report_of(index), field) or "" for index in range(len(manifest))]


class TextFeatures:
    """Unit text features of texts known beforehand: what ``model.encode_text`` gives, sooner.

    A frozen backbone runs once per distinct text, here; each call is then a projection. A backbone
    that learns runs in each call: on all texts at once where a graph is built, as the texts of a
    step are, else once per distinct text, so that memory does not grow with the size of a split.

    Args:
        model: Its text encoder is asked; its projection may be trained between calls.
        texts: Every text that will be asked for; repetitions cost nothing.
        batch_size: Texts in one run of the backbone without a graph.
    """

    def __init__(self, model: DualEncoder, texts: Iterable[str], batch_size: int = 64) -> None:
        self._model = model
        self._encoder = encoder = cast(TextEncoder, model.text_encoder)
        self._batch_size = batch_size
        self._rows: dict[str, int] = {}
        if not encoder.frozen:
            return
        self._rows = _distinct(texts)
        parts = _parts(list(self._rows), batch_size)
        with torch.no_grad():
            self._pooled = torch.cat([encoder.pooled(encoder.tokenize(part)) for part in parts])

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Features of ``texts`` in their order, with a graph unless gradients are off."""
        if self._rows:
            rows = _index(texts, self._rows)
            return unit_norm(self._encoder.projection(self._pooled[rows]))
        if torch.is_grad_enabled():
            return self._model.encode_text(texts)
        distinct = _distinct(texts)
        parts = _parts(list(distinct), self._batch_size)
        features = torch.cat([self._model.encode_text(part) for part in parts])
        return features[_index(texts, distinct)]


def _distinct(texts: Iterable[str]) -> dict[str, int]:
    """Each distinct text with its row, in order."""
    return {text: row for row, text in enumerate(dict.fromkeys(texts))}


def _index(texts: Sequence[str], rows: dict[str, int]) -> list[int]:
    return [rows[text] for text in texts]


def _parts(texts: list[str], size: int) -> Iterable[list[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))
