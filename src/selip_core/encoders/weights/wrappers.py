"""Remove from tensor names what wrappers of a module have added."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from selip_core.encoders.weights.layout import MODULE, Tensors
from selip_core.encoders.weights.report import listed

TRANSPARENT = frozenset(
    {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_fpw_module"}
)
"""Names that mean nothing at any level: of ``torch.compile``, activation checkpointing, FSDP.

``torch.distributed.checkpoint`` drops them at any level too.
"""

COPIES = frozenset(
    {
        *("ema", "ema_model", "model_ema", "ema_net", "net_ema", "ema_module"),
        *("swa_model", "averaged_model", "avg_model", "average_model"),
        *("teacher", "student", "teacher_model", "student_model"),
    }
)
"""Names under which training programs keep an average of a network, or one of two networks."""

COUNTERS = frozenset({"n_averaged", "num_updates", "ema_decay"})
"""Buffers in which averages count their updates."""


@dataclass(frozen=True)
class Unwrapped:
    """The tensors of a file under the names that they had before any wrapper.

    Attributes:
        tensors: By name.
        ignored: How many tensors were counters of wrappers.
    """

    tensors: Tensors
    ignored: int


def unwrap(
    tensors: Tensors, known: Collection[str], prefix: str | None = None, file: str = "the file"
) -> Unwrapped:
    """Return the tensors of a file without what wrappers put into their names.

    Args:
        tensors: The file's tensors.
        known: Names of the encoder's tensors; these stay as they are.
        prefix: Only names that begin with it are kept, without it; ``""`` keeps the names that are
            of no copy. ``None`` keeps all.
        file: Its name, for messages.

    Raises:
        ValueError: If two names become one, if no name begins with ``prefix``, or if the file holds
            a network and an average of it.

    Example:
        >>> names = ["ema_model.module.layer1._orig_mod.0.weight", "ema_model.n_averaged"]
        >>> list(unwrap(dict.fromkeys(names), ()).tensors)
        ['layer1.0.weight']
    """
    clean = {name: name if name in known else drop_transparent(name) for name in tensors}
    chosen = _under(prefix, clean, file) if prefix else clean
    averaged = {name.rpartition(".")[0] for name in chosen.values() if _is_counter(name, known)}
    kept = {old: new for old, new in chosen.items() if not _is_counter(new, known)}
    copies = {old: _copy_of(new, averaged, known) for old, new in kept.items()}
    plain = [old for old, (copy, _) in copies.items() if not copy]
    if prefix is None or not plain:
        _require_one(copies.values(), file)
        # What is of no copy is left out with the counters: it may be a part of another network.
        plain = [old for old in copies if len(plain) == len(copies) or old not in plain]
    named = {old: copies[old][1] for old in plain}
    _require_distinct(named, file)
    return Unwrapped({new: tensors[old] for old, new in named.items()}, len(chosen) - len(named))


def drop_transparent(name: str) -> str:
    """Return a name without what ``torch.compile``, checkpointing and FSDP put into it.

    Example:
        >>> drop_transparent("_fsdp_wrapped_module.layer1._orig_mod.0.weight")
        'layer1.0.weight'
    """
    *levels, last = name.split(".")
    return ".".join([*(level for level in levels if level not in TRANSPARENT), last])


def _under(prefix: str, names: Mapping[str, str], file: str) -> dict[str, str]:
    # What names one of two copies is a prefix as it is written, even if it is a wrapper's.
    start = drop_transparent(prefix + "x")[:-1] or prefix
    found = {
        old: new.removeprefix(start)
        if new.startswith(start)
        else drop_transparent(old.removeprefix(prefix))
        for old, new in names.items()
        if new.startswith(start) or old.startswith(prefix)
    }
    if not found:
        starts = sorted({name.partition(".")[0] for name in names})
        raise ValueError(
            f"{file} has no name that begins with the prefix {prefix!r}; names begin with "
            f"{listed(starts)}"
        )
    return found


def _is_counter(name: str, known: Collection[str]) -> bool:
    return name.rpartition(".")[2] in COUNTERS and name not in known


def _copy_of(name: str, averaged: Collection[str], known: Collection[str]) -> tuple[str, str]:
    """Return the prefix of the copy of a network that a name belongs to, and the rest of it."""
    levels = name.split(".")
    for place, level in enumerate(levels[:-1]):
        is_average = level == MODULE and ".".join(levels[:place]) in averaged
        if not (level in COPIES or is_average):
            continue
        if any(".".join(levels[start:]) in known for start in range(place + 1)):
            break  # the encoder has an attribute of this name
        start = place + 1 + (level in COPIES and levels[place + 1] == MODULE)
        rest = ".".join(levels[start:])
        return name.removesuffix(rest), rest
    return "", name


def _require_one(copies: Collection[tuple[str, str]], file: str) -> None:
    """Refuse a file that holds a network besides a copy of it, or two copies."""
    prefixes = sorted({prefix for prefix, _ in copies if prefix})
    rests = {rest for prefix, rest in copies if prefix}
    ends = [
        (name.removesuffix(end), end)
        for prefix, name in copies
        if not prefix
        for end in _ends(name)
        if end in rests
    ]
    if len({end for _, end in ends}) * 2 > len(rests):
        prefixes.append(ends[0][0])
    if len(prefixes) > 1:
        shown = ", ".join(repr(prefix) for prefix in prefixes)
        raise ValueError(
            f"{file} holds several copies of a network, such as one and its average, under the "
            f"prefixes {shown}: choose one by load_weights(..., prefix={prefixes[0]!r}) or, of a "
            f"file of PyTorch, by selip convert-weights --prefix {prefixes[0]}"
        )


def _ends(name: str) -> list[str]:
    levels = name.split(".")
    return [".".join(levels[start:]) for start in range(len(levels))]


def _require_distinct(named: Mapping[str, str], file: str) -> None:
    first: dict[str, str] = {}
    for old, new in named.items():
        if new in first:
            raise ValueError(
                f"{file} names two tensors that are one without wrappers: {first[new]} and {old}. "
                "Does it hold two networks? Choose one by load_weights(..., prefix=...)"
            )
        first[new] = old
