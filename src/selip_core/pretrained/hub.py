"""Folders by name: one that is there, or a model of the Hugging Face hub that the user names."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_VOCABULARIES = (
    *("vocab.txt", "merges.txt", "chat_template.jinja"),
    *("spiece.model", "spm.model", "tokenizer.model", "sentencepiece.bpe.model"),
    "sentencepiece.model",
)
_FILES = (
    *("*.json", "*.safetensors", "README.md"),
    *_VOCABULARIES,
    *(f"*/{file}" for file in _VOCABULARIES),
)
"""Weights, settings and vocabularies, which may stand in a folder of their own."""


def local_folder(name_or_folder: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return a folder; of a name ``owner/model`` that is no folder, that of the hub's copy.

    A folder never touches the network. A model is downloaded once and kept in the hub's cache;
    where ``HF_HUB_OFFLINE`` is set, only the cache is read.

    Args:
        name_or_folder: A folder, or the name of a model.
        revision: Branch, tag or commit of the hub's model; a commit pins its content.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If a revision is given for a folder.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> local_folder(folder) == Path(folder)
        True
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{folder} is a folder, which has no revision; leave revision out")
        return folder
    if not isinstance(name_or_folder, str) or not _HUB_NAME.fullmatch(name_or_folder):
        raise FileNotFoundError(f"there is no folder {folder}")
    return _download(name_or_folder, revision)


def is_hub_name(name: str) -> bool:
    """Return whether a name can be one of the hub: ``owner/model`` or ``model``, and no path here.

    Example:
        >>> is_hub_name("owner/model"), is_hub_name("/data/model"), is_hub_name("../model")
        (True, False, False)
    """
    full = name if "/" in name else f"owner/{name}"
    return _HUB_NAME.fullmatch(full) is not None and not Path(name).exists()


def hub_file(name: str, file: str, revision: str | None = None) -> Path:
    """Return one file of a model of the hub, downloaded once and kept in the hub's cache.

    Raises:
        FileNotFoundError: If the hub does not give it.
    """
    from huggingface_hub import constants, hf_hub_download

    offline = constants.HF_HUB_OFFLINE
    with _told(f"the hub's model {name} gave no {file}"):
        return Path(hf_hub_download(name, file, revision=revision, local_files_only=offline))


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download

    offline = constants.HF_HUB_OFFLINE
    with _told(f"there is no folder {name}, and no model of this name was got from the hub"):
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(_FILES),
                local_files_only=offline,
            )
        )


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn whatever the hub raises into one error."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        offline = ", and HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
        raise FileNotFoundError(
            f"{what} (Hugging Face, {type(error).__name__}{offline})"
        ) from error
