"""Checks of the weights of a text model, after transformers has read them.

transformers draws at random what a file lacks, and casts whatever types it holds.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selip_core.weight_values import CONSTANT, INTEGER, REMEDIES, ZERO, described, wrong_value

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_WEIGHTS = ("weight", "bias")
_SHOWN = 3


@contextmanager
def fitting(name: str) -> Iterator[None]:
    """Say of weights that transformers refuses for their shapes what is wrong.

    Raises:
        ValueError: If so.
    """
    try:
        yield
    except RuntimeError as error:
        if "mismatched_sizes" not in str(error):
            raise
        raise ValueError(
            f"the weights of {name!r} have other shapes than its config.json says: fetch both "
            "from one place"
        ) from error


def require_floats(name: str, folder: Path) -> None:
    """Refuse files whose weights have another type than floating point, as quantised exports have.

    Args:
        name: The model, for the message.
        folder: Where its ``model.safetensors`` or its shards are.

    Raises:
        ValueError: If so.
    """
    wrong = [
        f"{key} ({dtype})"
        for key, dtype in _types(folder).items()
        if dtype not in _FLOATS and key.rpartition(".")[2] in _WEIGHTS
    ]
    if wrong:
        raise ValueError(
            f"the text model {name!r} holds other types than floating point where it has weights: "
            f"{', '.join(wrong[:_SHOWN])}{' ...' if len(wrong) > _SHOWN else ''}; "
            f"{REMEDIES[INTEGER]}"
        )


def require_own_weights(name: str, backbone: Any, folder: Path) -> None:
    """Refuse a model of transformers for which its folder does not hold all weights.

    For models that another library has loaded. Names are compared first. Only where some differ, as
    they may by a rule of transformers, the weights are read once more to learn which are missing.

    Raises:
        ValueError: If some are missing.
    """
    start = f"{backbone.base_model_prefix}."
    names = {key.removeprefix(start) for key in _types(folder)}
    if all(key.removeprefix(start) in names for key, _ in backbone.named_parameters()):
        return
    _, read = type(backbone).from_pretrained(
        folder,
        config=backbone.config,
        use_safetensors=True,
        local_files_only=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    require_all_weights(name, read)


def require_all_weights(name: str, read: Mapping[str, Any]) -> None:
    """Refuse weights of which transformers found a part only: it draws the rest at random.

    Args:
        name: The model, for the message.
        read: What ``from_pretrained`` returns for ``output_loading_info=True``.

    Raises:
        ValueError: If weights other than those of BERT's own pooler are missing.
    """
    missing = sorted(key for key in read["missing_keys"] if "pooler" not in key.split("."))
    if not missing:
        return
    unknown = sorted(read["unexpected_keys"])
    raise ValueError(
        f"the weights of {name!r} lack {len(missing)} tensors of the text model, such as "
        f"{missing[0]}, which would be random; the file has {len(unknown)} that the model does not "
        f"know{f', such as {unknown[0]}' if unknown else ''}. If its names are those of a wrapped "
        "module (module., _orig_mod.), save the state dict of the module within"
    )


def require_trained_values(name: str, model: nn.Module) -> None:
    """Refuse values that no trained network has.

    Tables of embeddings may have rows and columns of any kind, and those of positions may be zero;
    the table of words may not. What is multiplied with the states may be neither all zero nor whole
    numbers. Vectors may be zero unless the states are then the same for every word.

    Raises:
        ValueError: If there are such values.
    """
    problems: dict[str, list[str]] = {}
    zero_vectors: list[str] = []
    for path, module in model.named_modules():
        is_table = isinstance(module, nn.Embedding)
        for key, value in module.named_parameters(recurse=False):
            own = torch.ones(1)
            kind = wrong_value(key, own, value.detach(), is_parameter=not is_table)
            full_name = f"{path}.{key}".lstrip(".")
            if kind is not None:
                problems.setdefault(kind, []).append(full_name)
            elif value.ndim == 1 and key == "weight" and not bool(value.any()):
                zero_vectors.append(full_name)
        words = _table_of_words(module)
        if words is not None and not bool(words.any()):
            problems.setdefault(ZERO, []).append(f"{path}: the embeddings of words".lstrip(": "))
    if not problems and zero_vectors and _is_constant(model):
        problems[CONSTANT] = zero_vectors
    if problems:
        raise ValueError(f"the text model {name!r} {described(problems)}")


def _types(folder: Path) -> dict[str, str]:
    """Return the type of each tensor in the files of a folder, by name."""
    from safetensors import safe_open

    types: dict[str, str] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                types[key] = tensors.get_slice(key).get_dtype()
    return types


def _table_of_words(module: nn.Module) -> Tensor | None:
    """Return the table of input embeddings of a model of transformers; None of other modules."""
    if not hasattr(module, "base_model_prefix"):
        return None
    try:
        table: Any = module.get_input_embeddings()  # type: ignore[operator]
    except NotImplementedError:
        return None
    return table.weight.detach() if isinstance(table, nn.Embedding) else None


def _is_constant(model: nn.Module) -> bool:
    """Return whether a model of transformers within gives two words the same state."""
    backbone: Any = next(part for part in model.modules() if _table_of_words(part) is not None)
    words = torch.tensor([[0], [1]], device=next(backbone.parameters()).device)
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        states = backbone(input_ids=words, attention_mask=torch.ones_like(words))[0]
    backbone.train(was_training)
    return torch.equal(states[0], states[1])
