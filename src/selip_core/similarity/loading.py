"""Similarities rebuilt from what was saved."""

import os
from collections.abc import Callable
from typing import Any

from selip_core.similarity.kernels.definition import kernel_from
from selip_core.similarity.same_definition import completed
from selip_core.similarity.saving import Json, read_saved
from selip_core.similarity.semantic import SemanticSimilarity
from selip_core.similarity.similarity import MixedSimilarity, Similarity
from selip_core.similarity.syntax import SyntaxSimilarity


def load_similarity(folder: str | os.PathLike[str]) -> Similarity:
    """Return the fitted similarity that a folder holds, rebuilt from its card.

    Tensors are mapped from the file: processes that load one folder share its memory. To be sure of
    what is loaded, build the similarity and call :meth:`Similarity.load`, which refuses another.

    Raises:
        ValueError: If the folder is no saved similarity, or damaged, or a part of it, such as a
            function of the user's, cannot be rebuilt from its name.
        FileNotFoundError: If there is no such folder.

    Example:
        >>> import tempfile
        >>> from selip_core import Finding, Report
        >>> reports = [Report(id="a", findings=[Finding(site="pons")]), Report(id="b", normal=True)]
        >>> folder = tempfile.mkdtemp()
        >>> SyntaxSimilarity(gamma=4.0).fit(reports).save(folder)
        >>> load_similarity(folder).batch(["b"], ["a", "b"]).dense()
        tensor([[0., 1.]])
    """
    saved = read_saved(folder)
    try:
        similarity = similarity_from(completed(saved.definition))
    except ValueError as error:
        raise ValueError(
            f"{os.fspath(folder)} cannot be rebuilt from its card: {error}; build the similarity "
            "as it was built before, and call its load(folder)"
        ) from error
    saved.restore(similarity._restore, folder)
    return similarity


def similarity_from(definition: Any) -> Similarity:
    """Return the similarity, not fitted, of a definition.

    Raises:
        ValueError: If it cannot be rebuilt from it.

    Example:
        >>> similarity_from(SyntaxSimilarity.paper().definition()).definition()["aggregation"]
        'mean'
    """
    kind = definition.get("kind") if isinstance(definition, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"the kind must be one of {sorted(_KINDS)}, got {kind!r}")
    settings = {name: value for name, value in definition.items() if name != "kind"}
    try:
        return _KINDS[kind](settings)
    except (TypeError, KeyError) as error:
        raise ValueError(f"the settings of {kind} do not fit: {error}") from error


def _syntax(settings: Json) -> Similarity:
    kernel = kernel_from(settings.pop("kernel"))
    settings.pop("encoders")  # what they were is part of what was learned
    return SyntaxSimilarity(kernel, **settings)


def _semantic(settings: dict[str, Any]) -> Similarity:
    if not settings.pop("restorable"):
        raise ValueError(f"{settings['encoder']} is an encoder of the user's")
    settings.pop("identity")  # what the encoder was is part of what was learned
    return SemanticSimilarity(settings.pop("encoder"), **settings)


def _mixed(settings: Json) -> Similarity:
    parts = tuple(map(similarity_from, settings["parts"]))
    return MixedSimilarity(tuple(settings["scales"]), parts)


_KINDS: dict[str, Callable[[Json], Similarity]] = {
    "mixed": _mixed,
    "semantic": _semantic,
    "syntax": _syntax,
}
