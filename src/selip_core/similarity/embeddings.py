"""Embeddings of texts: what an encoder may be, and what it must give."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.files import writing
from selip_core.model_folders import require_plain_sentence_model, transformer_folders
from selip_core.model_weights import (
    fitting,
    require_floats,
    require_own_weights,
    require_trained_values,
)
from selip_core.similarity.embedding_cache import EmbeddingCache
from selip_core.similarity.long_texts import LongTexts, TextReader
from selip_core.similarity.operators import Index

_CHUNK_TEXTS = 4096
_READ_BYTES = 2**20
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


class SentenceEncoder(Protocol):
    """What sentence-transformers models offer."""

    def encode(self, sentences: list[str], /) -> Any:
        """Return an embedding a sentence."""


Encoder: TypeAlias = str | os.PathLike[str] | SentenceEncoder | Callable[[list[str]], Any]
"""What makes embeddings of texts:

- the name or folder of a sentence-transformers model: loaded in float32, from safetensors only,
  when a text needs it; a name that is not in the hub's cache is fetched;
- a model with ``encode``, such as one of sentence-transformers;
- any callable from a list of texts to a matrix with a row a text.
"""


def embed(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    long_texts: LongTexts = "chunk",
    cache: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    progress: bool = False,
) -> Float[Tensor, "texts r"]:
    """Return the embedding of each text: float32, on the CPU, rows of unit norm.

    Args:
        encoder: See :data:`Encoder`.
        texts: Best distinct; each is embedded as often as it comes.
        long_texts: See :data:`LongTexts`; with ``"cut"`` it warns of the texts that it embeds and
            the cache did not hold.
        cache: A folder that keeps embeddings, under hashes of their texts, for this very encoder
            and these versions of torch, transformers and sentence-transformers; it is made if it is
            missing. Only texts that it lacks are embedded. It holds no text. Where it cannot be
            read or written, there is a warning, and texts are embedded.
        revision: Stands for the encoder in the cache, besides the contents of a model of
            sentence-transformers: change it whenever the encoder changes.
        progress: Show a bar on standard error.

    Raises:
        ValueError: If the encoder's result is not a finite matrix with a row a text and no row of
            zeros, or a cache is asked for without ``revision`` for an encoder that is no model of
            sentence-transformers, or its folder can be neither made nor read, or a model has
            weights in pickles only.
        OSError: If there is no such model.

    Example:
        >>> def count_letters(texts):
        ...     return torch.tensor([[text.count(letter) for letter in "ab"] for text in texts])
        >>> embed(count_letters, ["aaaabbb", "b"])
        tensor([[0.8000, 0.6000],
                [0.0000, 1.0000]])
    """
    distinct = list(dict.fromkeys(texts))
    store = None
    parts: list[tuple[Index, Float[Tensor, "part r"]]] = []
    if cache is not None:
        store = EmbeddingCache(cache, _identity_for_cache(encoder, revision, long_texts))
        parts = store.read(distinct)
    known = torch.zeros(len(distinct), dtype=torch.bool)
    for places, _ in parts:
        known[places] = True
    for places, rows in _embedded_parts(encoder, distinct, ~known, long_texts, progress):
        if store is not None:
            store.write([distinct[place] for place in places.tolist()], rows)
        parts.append((places, rows))
    table = _joined(parts, len(distinct))
    if len(distinct) == len(texts):
        return table
    places_of = {text: place for place, text in enumerate(distinct)}
    return table[torch.tensor([places_of[text] for text in texts])]


def encoder_identity(encoder: Encoder, revision: str | None = None) -> str | None:
    """Return what tells one encoder from another: equal only if they embed alike.

    The given revision, or the hash of the model's files; ``None`` for an encoder that has neither.

    Example:
        >>> encoder_identity(lambda texts: texts, revision="letters 1")
        'revision letters 1'
        >>> encoder_identity(lambda texts: texts) is None
        True
    """
    named = [] if revision is None else [f"revision {revision}"]
    if isinstance(encoder, str | os.PathLike):
        named.insert(0, f"sha256 {_hash_of_files(_model_folder(encoder))}")
    elif _is_sentence_transformer(encoder):
        named.insert(0, f"sha256 {_hash_of_model(encoder)}")
    return ", ".join(named) or None


def load_encoder(name_or_folder: str | os.PathLike[str]) -> SentenceEncoder:
    """Return a sentence-transformers model in float32, whatever its checkpoint says.

    Raises:
        ValueError: If its folder brings code, weights in pickles only, or an adapter; see
            :func:`~selip_core.model_folders.require_plain_sentence_model`. If weights are missing,
            quantised, or have values that no trained network has.
        OSError: If there is no such model.
    """
    folder = _model_folder(name_or_folder)
    require_plain_sentence_model(folder)
    from sentence_transformers import SentenceTransformer

    with fitting(str(name_or_folder)):
        model = SentenceTransformer(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    model = model.float().eval()
    _require_trained(str(name_or_folder), model, folder)
    return model


def _require_trained(name: str, model: Any, folder: Path) -> None:
    """Refuse a model that sentence-transformers has loaded in part, or with values of no use."""
    from transformers import PreTrainedModel

    backbones = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    outer = [part for part in backbones if not any(_is_within(part, each) for each in backbones)]
    folders = transformer_folders(folder)
    if len(outer) == len(folders):
        for backbone, own in zip(outer, folders, strict=True):
            require_floats(name, own)
            require_own_weights(name, backbone, own)
    require_trained_values(name, model)


def _is_within(part: Any, whole: Any) -> bool:
    return part is not whole and any(part is each for each in whole.modules())


def _embedded_parts(
    encoder: Encoder,
    texts: list[str],
    wanted: Bool[Tensor, " texts"],
    long_texts: LongTexts,
    progress: bool,
) -> Iterator[tuple[Index, Float[Tensor, "part r"]]]:
    """Yield places of texts and their embeddings; a model is loaded only if any is wanted."""
    chunks: Any = torch.split(wanted.nonzero().squeeze(1), _CHUNK_TEXTS)
    if not bool(wanted.any()):
        return
    read = TextReader(_model(encoder), long_texts)
    if progress:
        from tqdm import tqdm

        chunks = tqdm(chunks, desc="embeddings", unit=f"{_CHUNK_TEXTS} texts")
    for places in chunks:
        chunk = [texts[place] for place in places.tolist()]
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            embeddings = read(chunk)
        yield places, _unit_rows(embeddings, len(chunk))
    read.warn()


def _model(encoder: Encoder) -> Any:
    return load_encoder(encoder) if isinstance(encoder, str | os.PathLike) else encoder


def _joined(parts: list[tuple[Index, Tensor]], count: int) -> Float[Tensor, "texts r"]:
    widths = sorted({rows.shape[1] for _, rows in parts})
    if len(widths) > 1:
        raise ValueError(f"the encoder must give embeddings of one length, got {widths}")
    table = torch.empty(count, widths[0] if widths else 0)
    for places, rows in parts:
        table[places] = rows
    return table


def _unit_rows(embeddings: Any, rows: int) -> Float[Tensor, "rows r"]:
    """Return the embeddings with unit norm, or say what is wrong with them."""
    matrix = torch.as_tensor(embeddings).detach().cpu().to(torch.float64)
    if matrix.ndim != 2 or matrix.shape[0] != rows:
        raise ValueError(
            f"the encoder must return a matrix with a row a text, ({rows}, r), "
            f"got shape {tuple(matrix.shape)}"
        )
    norms = matrix.norm(dim=1, keepdim=True)
    wrong = ~((norms > 0) & norms.isfinite())
    if bool(wrong.any()):
        raise ValueError(
            "embeddings must be finite and not zero; the encoder returned "
            f"{int(wrong.sum())} of {rows} that are not"
        )
    unit: Tensor = matrix / norms
    return unit.to(torch.float32)


def _identity_for_cache(encoder: Encoder, revision: str | None, long_texts: LongTexts) -> str:
    identity = encoder_identity(encoder, revision)
    if identity is None:
        raise ValueError(
            "embeddings of an encoder that is no model of sentence-transformers can be cached only "
            "with revision=..., a name for the encoder that changes whenever it does; got none"
        )
    has_limit = isinstance(encoder, str | os.PathLike) or _is_sentence_transformer(encoder)
    return f"{identity}, long texts in parts" if has_limit and long_texts == "chunk" else identity


def _model_folder(name_or_folder: str | os.PathLike[str]) -> Path:
    """Return the folder of a model; one of the hub is fetched, without its pickles."""
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    name = os.fspath(name_or_folder)
    try:
        repository = name if "/" in name else f"sentence-transformers/{name}"
        return Path(snapshot_download(repository, allow_patterns=list(_HUB_FILES)))
    except (OSError, ValueError) as error:
        raise OSError(
            f"no sentence encoder can be loaded from {name!r}: expected the folder of a "
            "sentence-transformers model, or the name of one in reach on the Hugging Face hub"
        ) from error


def _is_sentence_transformer(encoder: Any) -> bool:
    library = sys.modules.get("sentence_transformers")
    return library is not None and isinstance(encoder, library.SentenceTransformer)


def _hash_of_model(model: Any) -> str:
    """Return the hash of the files that the model would be saved to, and what these leave out."""
    with tempfile.TemporaryDirectory() as folder, _settled(model.tokenizer):
        with writing(folder):
            model.save(folder, create_model_card=False, safe_serialization=True)
        files = _hash_of_files(Path(folder))
    return hashlib.sha256(f"{files} {model.truncate_dim}".encode()).hexdigest()


@contextmanager
def _settled(tokenizer: Any) -> Iterator[None]:
    """Take away how the last call padded and truncated, which a tokenizer saves with itself."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        yield
        return
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        yield
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def _hash_of_files(folder: Path) -> str:
    """Return the hash of the names and contents of all files, hidden ones apart."""
    digest = hashlib.sha256()
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(files, key=Path.as_posix):
        if name.name.startswith("."):
            continue
        digest.update(f"{name.as_posix()}\0{files[name].stat().st_size}\0".encode())
        with files[name].open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    return digest.hexdigest()
