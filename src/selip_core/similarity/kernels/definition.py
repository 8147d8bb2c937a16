"""Finding kernels as JSON, and back."""

import dataclasses
from typing import Any

from selip_core.similarity.kernels.algebra import FindingKernel, Power, Product, Scaled, Sum
from selip_core.similarity.kernels.closeness import Closeness
from selip_core.similarity.kernels.dice import Dice
from selip_core.similarity.kernels.embedding import Embedding
from selip_core.similarity.kernels.exact import Exact
from selip_core.similarity.kernels.field import qualified_name
from selip_core.similarity.kernels.fuzzy import Fuzzy
from selip_core.similarity.kernels.ordered import Ordered
from selip_core.similarity.kernels.synonyms import Synonyms

_ALGEBRA = (Sum, Product, Scaled, Power)
_LEAVES = (Closeness, Dice, Embedding, Exact, Fuzzy, Ordered, Synonyms)
_KINDS: dict[str, type[FindingKernel]] = {
    kind.__name__.lower(): kind for kind in (*_ALGEBRA, *_LEAVES)
}


def definition(kernel: FindingKernel) -> dict[str, Any]:
    """Return a kernel with all its arguments, as JSON can hold them.

    The kernels that it is made of are nested. Equal kernels have equal definitions. A callable, or
    an encoder that is an object, stands there by its qualified name, as
    ``{"callable": "module.name", "restorable": False}``; a kernel of a class that is not of this
    library has the qualified name of its class as its kind.

    Example:
        >>> from selip_core.similarity import dice
        >>> definition(dice("text"))
        {'kind': 'dice', 'field': 'text', 'missing': 'equal', 'ngram': 1}
        >>> definition(dice("text") ** 2)["kernel"] == definition(dice("text"))
        True
    """
    own = type(kernel)
    kind = own.__name__.lower()
    return {
        "kind": kind if _KINDS.get(kind) is own else qualified_name(own),
        **{
            argument.name: _as_json(getattr(kernel, argument.name))
            for argument in dataclasses.fields(kernel)  # type: ignore[arg-type]
        },
    }


def kernel_from(definition: dict[str, Any]) -> FindingKernel:
    """Return the kernel of a definition; equal to the one it was made from.

    Raises:
        ValueError: If a kind or an argument is unknown, missing or wrong, or a callable is in it,
            which cannot be restored. The message has the path in the JSON and what is known.

    Example:
        >>> from selip_core.similarity import dice
        >>> print(kernel_from({"kind": "dice", "field": "text", "ngram": 2}))
        dice('text', ngram=2)
    """
    return _kernel(definition, "$")


def _as_json(value: Any) -> Any:
    if isinstance(value, FindingKernel):
        return definition(value)
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return {"callable": qualified_name(value), "restorable": False}


def _kernel(saved: Any, path: str) -> FindingKernel:
    kind = saved.get("kind") if isinstance(saved, dict) else None
    own = _KINDS.get(kind) if isinstance(kind, str) else None
    if own is None:
        raise ValueError(
            f"{path}: needed a finding kernel, an object whose kind is one of {sorted(_KINDS)}, "
            f"got {type(saved).__name__ if kind is None else repr(kind)}"
        )
    arguments = {name: value for name, value in saved.items() if name != "kind"}
    known = [argument.name for argument in dataclasses.fields(own)]  # type: ignore[arg-type]
    if unknown := sorted(set(arguments) - set(known)):
        raise ValueError(f"{path}: {kind} has no argument {unknown}; it has {known}")
    restored = {name: _value(value, f"{path}.{name}") for name, value in arguments.items()}
    try:
        kernel = own(**restored)
        are_kernels = all(isinstance(part, FindingKernel) for part in kernel.parts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {kind}: {error}") from error
    if not are_kernels:
        raise ValueError(f"{path}: {kind} must be made of finding kernels")
    return kernel


def _value(saved: Any, path: str) -> Any:
    if isinstance(saved, list):
        return tuple(_value(item, f"{path}[{place}]") for place, item in enumerate(saved))
    if not isinstance(saved, dict):
        return saved
    if "callable" in saved:
        raise ValueError(
            f"{path}: {saved['callable']!r} cannot be restored from its name; build the kernel "
            "with it, as it was built before"
        )
    return _kernel(saved, path)
