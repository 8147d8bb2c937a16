"""What a folder of sentence-transformers says beside the model: pooling and length."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

from selip_core.model_folders import (
    MODULES,
    kind_of,
    module_entry,
    not_as_written,
    read_json,
)

_POOLING = "1_Pooling"
_TRANSFORMER = "sentence_bert_config.json"
_CONFIG = "config.json"
_PACKAGE = "sentence_transformers.models"
# A pooling is named by "pooling_mode", or by a true among "pooling_mode_cls_token" and the like.
_MODE = "pooling_mode"
_FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}
_POOLINGS = {flag: pooling for pooling, flag in _FLAGS.items()} | {name: name for name in _FLAGS}


@final
@dataclass(frozen=True)
class SentenceSettings:
    """How sentence-transformers reads texts with a model.

    Attributes:
        steps: What it does to the tokens' states: ``("mean", "Normalize")`` say. Nothing where the
            model is none of sentence-transformers.
        max_length: Tokens that are read of a text, or None.
        lowercase: Whether texts are put in lower case first.
    """

    steps: tuple[str, ...] = ()
    max_length: int | None = None
    lowercase: bool = False

    @classmethod
    def read(cls, name: str) -> Self:
        """Return the settings in a folder, or in a model of the hub.

        Raises:
            ValueError: If its modules are damaged, or one is not of sentence-transformers.
        """
        modules = _read(name, MODULES)
        if modules is None:
            return cls()
        if not isinstance(modules, list):
            raise not_as_written()
        for module in modules:
            kind_of(module_entry(module, "type"))
        steps = tuple(step for module in modules[1:] for step in _steps(name, module))
        transformer = _read(name, _TRANSFORMER) or {}
        return cls(
            steps, transformer.get("max_seq_length"), transformer.get("do_lower_case", False)
        )

    @property
    def pooling(self) -> str | None:
        """``"cls"``, ``"mean"`` or ``"last"``; None where the steps are not one of these alone.

        A last step that brings the embedding to unit length counts for nothing: the features of a
        dual encoder are, after the projection.
        """
        steps = self.steps[:-1] if self.steps[-1:] == ("Normalize",) else self.steps
        return _POOLINGS.get(steps[0]) if len(steps) == 1 else None

    def write(self, folder: Path, hidden_size: int) -> None:
        """Write what :meth:`read` and sentence-transformers read, of one pooling."""
        modules = [
            {"idx": index, "name": str(index), "path": path, "type": f"{_PACKAGE}.{kind}"}
            for index, (kind, path) in enumerate({"Transformer": "", "Pooling": _POOLING}.items())
        ]
        flags = {f"{_MODE}_{flag}": name == self.pooling for name, flag in _FLAGS.items()}
        transformer = {"max_seq_length": self.max_length, "do_lower_case": self.lowercase}
        (folder / _POOLING).mkdir(exist_ok=True)
        for path, content in (
            (MODULES, modules),
            (f"{_POOLING}/{_CONFIG}", {"word_embedding_dimension": hidden_size} | flags),
            (_TRANSFORMER, transformer),
        ):
            (folder / path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _steps(name: str, module: Any) -> list[str]:
    kind = kind_of(module_entry(module, "type"))
    if kind != "Pooling":
        return [kind]
    config = _read(name, f"{module_entry(module, 'path')}/{_CONFIG}") or {}
    modes: str | list[str] | None = config.get(_MODE)
    if isinstance(modes, str):
        return [modes]
    flags = [key for key, value in config.items() if key.startswith(_MODE) and value is True]
    return modes or [flag.removeprefix(f"{_MODE}_") for flag in flags] or ["mean"]


def _read(name: str, path: str) -> Any:
    """The content of a JSON file of a folder or of a model on the hub, or None."""
    folder = Path(name)
    file = folder / path if folder.is_dir() else _download(name, path)
    return None if file is None else read_json(file)


def _download(name: str, path: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, path))
    except EntryNotFoundError:
        return None
