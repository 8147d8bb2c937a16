"""Checks of the folder of a text model: nothing in it may be run or unpickled.

transformers and sentence-transformers import classes that a model's JSON files name. Releases
differ in which of them they import without asking, so these files are read here, before either
library sees the folder.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = "modules.json"
"""The file in which sentence-transformers lists the modules of a model."""

KINDS = frozenset(
    {
        *("Transformer", "Pooling", "Normalize", "Dense", "Dropout", "LayerNorm", "Router"),
        *("WeightedLayerPooling", "StaticEmbedding", "CNN", "LSTM"),
        *("WordEmbeddings", "WordWeights", "BoW"),
    }
)
"""Modules of sentence-transformers that read no other class than those checked here."""

_PACKAGES = (
    "sentence_transformers.models",
    "sentence_transformers.base.modules",
    "sentence_transformers.sentence_transformer.modules",
)
_PACKAGE = "|".join(map(re.escape, _PACKAGES))
_TOKENIZER = rf"({_PACKAGE})\.tokenizer(\.\w+)?\.(Whitespace|Word|Phrase)Tokenizer"
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_ADAPTER = "adapter_config.json"
_ATTENTION = ("attn_implementation", "_attn_implementation")
_OWN = frozenset(
    {
        *("add_pooling_layer", "attn_implementation", "dtype", "torch_dtype", "use_safetensors"),
        *("low_cpu_mem_usage", "trust_remote_code", "local_files_only"),
        *("model_max_length", "max_length", "padding_side", "truncation_side", "use_fast"),
        *("padding", "truncation", "return_tensors", "do_lower_case", "unpad_inputs"),
    }
)
"""Arguments that a sentence model may keep for its own loading: none of them names a source."""

_LOADING = (
    *("model_args", "tokenizer_args", "config_args"),
    *("model_kwargs", "tokenizer_kwargs", "config_kwargs", "processor_kwargs"),
)
"""Where the settings of a Transformer module keep such arguments."""

_REMEDY = "choose a model whose architecture is part of transformers and sentence-transformers"


def require_no_code(folder: Path) -> None:
    """Refuse a folder of transformers or sentence-transformers that brings code.

    Args:
        folder: The model's folder. Nothing of it is imported.

    Raises:
        ValueError: If its configuration maps classes to code (``auto_map``), if ``modules.json``
            names a module outside sentence-transformers or one that the library would build from
            other classes, if a module lies outside the folder, or if a JSON file is damaged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / MODULES).write_text('[{"type": "own.Transformer", "path": ""}]')
        >>> require_no_code(folder)
        Traceback (most recent call last):
            ...
        ValueError: modules.json of the model names 'own.Transformer', ...
    """
    for file in sorted(folder.rglob("*config*.json")):
        _require_no_mapping(file.relative_to(folder).as_posix(), read_json(file))
    for _, kind, path in sentence_modules(folder):
        _require_plain_settings(folder, kind, path)


def require_plain_sentence_model(folder: Path) -> None:
    """Refuse a folder of sentence-transformers from which code, a pickle or another model is read.

    Raises:
        ValueError: As :func:`require_no_code`; and if weights are pickled only, if the model is an
            adapter to another, or if it is read with settings that name files or kernels elsewhere.
    """
    require_no_code(folder)
    paths = {"", *(path for _, _, path in sentence_modules(folder))}
    for path in sorted(paths):
        _require_safetensors(folder, path)
        if (folder / path / _ADAPTER).exists():
            raise ValueError(
                f"{_join(path, _ADAPTER)} makes the sentence encoder an adapter to another model: "
                "merge it by merge_and_unload() of peft, and save what that gives"
            )
        for file in sorted((folder / path).glob("*config.json")):
            _require_own_settings(_join(path, file.name), read_json(file))


def sentence_modules(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (file that names it, kind, path in the folder) of the modules of a sentence model.

    Nothing is yielded where the folder has no ``modules.json``.

    Raises:
        ValueError: If a module is none of :data:`KINDS`, or lies outside the folder; if a Router
            names no modules.
    """
    modules = read_json(folder / MODULES)
    if modules is None:
        return
    if not isinstance(modules, list):
        raise not_as_written()
    for module in modules:
        yield from _checked(
            folder, MODULES, module_entry(module, "type"), module_entry(module, "path")
        )


def transformer_folders(folder: Path) -> list[Path]:
    """Return the folders of the models of transformers in a sentence model, in its order.

    A folder without ``modules.json`` is one itself.
    """
    if not (folder / MODULES).is_file():
        return [folder]
    return [folder / path for _, kind, path in sentence_modules(folder) if kind == "Transformer"]


def module_entry(module: Any, key: str) -> str:
    """Return the ``"type"`` or ``"path"`` of one module of ``modules.json``.

    Raises:
        ValueError: If it has none.
    """
    value = module.get(key) if isinstance(module, dict) else None
    if not isinstance(value, str):
        raise not_as_written()
    return value


def not_as_written() -> ValueError:
    """Return the error of a ``modules.json`` of another structure."""
    return ValueError(
        f"{MODULES} of the model is not as sentence-transformers writes it: expected a list of "
        "modules that each have a 'type' and a 'path'"
    )


def kind_of(name: str, file: str = MODULES) -> str:
    """Return the kind of module of a class name in ``modules.json``.

    Raises:
        ValueError: If the class is no module of sentence-transformers.

    Example:
        >>> kind_of("sentence_transformers.models.Pooling")
        'Pooling'
        >>> kind_of("sentence_transformers.models.Pooling.Pooling")
        'Pooling'
    """
    kind = name.rpartition(".")[2]
    if kind in KINDS and re.fullmatch(rf"({_PACKAGE})(\.\w+)?\.{kind}", name):
        return kind
    raise ValueError(
        f"{file} of the model names {name!r}, which is none of the modules of "
        f"sentence-transformers that hold no code ({', '.join(sorted(KINDS))}): it brings code, "
        "which is never run here. {_REMEDY.capitalize()}"
    )


def read_json(file: Path) -> Any:
    """Return the content of a JSON file, ``None`` if it is missing.

    Raises:
        ValueError: If it is damaged.
    """
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file.name} of the model is damaged: it is not JSON; fetch the model again"
        ) from error


def maps_to_code(config: Any) -> bool:
    """Return whether a configuration of transformers names classes in files of the model."""
    mapped = config.get("auto_map") if isinstance(config, dict) else None
    return bool(mapped)


def own_code_error(name: str) -> ValueError:
    """Return the error of a model whose configuration maps classes to code.

    Args:
        name: The model, or the file of its folder.
    """
    return ValueError(
        f"{name} brings its own code (auto_map), which is never run here, and without it the "
        f"model may compute something else: {_REMEDY}. If transformers has this very architecture "
        "by now, remove auto_map from a copy of the file"
    )


def _checked(folder: Path, file: str, name: str, path: str) -> Iterator[tuple[str, str, str]]:
    kind = kind_of(name, file)
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"{file} of the model names a module outside the model's folder")
    yield file, kind, path
    if kind != "Router":
        return
    has_routes = False
    for config in ("router_config.json", "config.json"):
        routes = read_json(folder / path / config)
        types = routes.get("types") if isinstance(routes, dict) else None
        for inner, own in types.items() if isinstance(types, dict) else ():
            has_routes = True
            yield from _checked(folder, _join(path, config), str(own), _join(path, inner))
    if not has_routes:
        raise ValueError(
            f"{_join(path, 'router_config.json')} of the model must name the modules of its Router "
            "under 'types', got none: fetch the model again"
        )


def _require_no_mapping(name: str, config: Any) -> None:
    if maps_to_code(config):
        raise own_code_error(f"{name} of the model")


def _require_plain_settings(folder: Path, kind: str, path: str) -> None:
    """Refuse classes that the settings of a module name, unless they are known."""
    for file in ("config.json", f"{kind.lower()}_config.json", "wordembedding_config.json"):
        config = read_json(folder / path / file)
        if not isinstance(config, dict):
            continue
        activation, tokenizer = config.get("activation_function"), config.get("tokenizer_class")
        if kind == "Dense" and activation is not None and not _is_activation(activation):
            raise _unknown_class(_join(path, file), activation)
        if kind == "WordEmbeddings" and not re.fullmatch(_TOKENIZER, str(tokenizer)):
            raise _unknown_class(_join(path, file), tokenizer)


def _is_activation(name: Any) -> bool:
    from torch import nn

    layer = getattr(nn, str(name).rpartition(".")[2], None)
    if not isinstance(layer, type) or not issubclass(layer, nn.Module):
        return False
    return name in (f"torch.nn.{layer.__name__}", f"{layer.__module__}.{layer.__qualname__}")


def _require_safetensors(folder: Path, path: str) -> None:
    if any((folder / path / name).is_file() for name in _SAFETENSORS):
        return
    pickled = sorted((folder / path).glob("pytorch_model*.bin"))
    if pickled:
        raise ValueError(
            f"{_join(path, pickled[0].name)} of the sentence encoder is a pickle, which can run "
            "code when it is read; save the model in safetensors"
        )


def _require_own_settings(name: str, config: Any) -> None:
    """Refuse settings by which a module reads a tokenizer, weights or kernels from elsewhere."""
    if not isinstance(config, dict):
        return
    foreign = {key for key in ("tokenizer_name_or_path",) if config.get(key)}
    for key in ("", *_LOADING):
        values = config.get(key) if key else config
        for each, value in values.items() if isinstance(values, dict) else ():
            if (each in _ATTENTION and "/" in str(value)) or (key and each not in _OWN):
                foreign.add(each)
    if foreign:
        raise ValueError(
            f"{name} of the sentence encoder sets {', '.join(sorted(foreign))}, by which its "
            "weights, tokenizer or code can come from elsewhere; remove that from a copy of the "
            "file"
        )


def _unknown_class(name: str, kind: Any) -> ValueError:
    return ValueError(
        f"{name} of the model names the class {kind!r}, which would be imported and run: a Dense "
        "takes activations of torch.nn, WordEmbeddings the tokenizers of sentence-transformers. "
        f"{_REMEDY.capitalize()}"
    )


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
