"""The settings of a similarity on the command line."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selip_core.similarity import FindingKernel, SyntaxSimilarity

_DEFAULT_FIELDS = "site=0.4,laterality=0.2,signal=0.4"
_KERNEL = ("kernel", "fields", "missing")
_OTHERS = (
    *("aggregation", "gamma", "min_similarity", "top_k", "own_floor"),
    *("equal", "normal", "negated"),
)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings; those that are not given are None."""
    group = parser.add_argument_group(
        "settings of the similarity",
        "How findings compare, and how their similarity becomes that of reports.",
    )
    group.add_argument("--paper", action="store_true", help="the paper's; no other setting")
    _add_kernel(group)
    _add_shape(group)
    group.add_argument(
        "--equal",
        choices=("one", "aggregate"),
        help="reports with equal findings are 1, or what the aggregation gives (default: one)",
    )
    group.add_argument(
        "--normal",
        choices=("alike", "paper"),
        help="two normal reports are 1, or 0 as in the paper (default: alike)",
    )
    group.add_argument(
        "--negated",
        choices=("apart", "ignored"),
        help="a negated finding matches no affirmed one, or negation is not looked at "
        "(default: apart)",
    )


def given_settings(arguments: argparse.Namespace) -> list[str]:
    """Return the settings that stand on the command line, as they are written there."""
    names = [name for name in (*_KERNEL, *_OTHERS) if getattr(arguments, name) is not None]
    return [f"--{name.replace('_', '-')}" for name in (["paper"] * arguments.paper + names)]


def similarity_of(arguments: argparse.Namespace) -> "SyntaxSimilarity":
    """Return the similarity, not fitted, that the settings ask for.

    Raises:
        ValueError: If settings do not go together, or one is out of range.
    """
    from selip_core.similarity import SyntaxSimilarity

    given = given_settings(arguments)
    if arguments.paper:
        if len(given) > 1:
            raise ValueError(f"--paper fixes all settings; leave out {', '.join(given[1:])}")
        return SyntaxSimilarity.paper()
    settings: dict[str, Any] = {name: getattr(arguments, name) for name in _OTHERS}
    settings = {name: value for name, value in settings.items() if value is not None}
    return SyntaxSimilarity(_kernel(arguments), **settings)


def _add_kernel(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--fields",
        metavar="NAME=WEIGHT,...",
        help="fields that are to be equal, with weights that sum to at most 1; without weights, "
        f"equal ones (default: {_DEFAULT_FIELDS})",
    )
    group.add_argument(
        "--kernel",
        type=Path,
        metavar="FILE",
        help="any finding kernel, by its definition in JSON, in place of --fields: card.json of a "
        "saved similarity has one under definition.kernel",
    )
    group.add_argument(
        "--missing",
        choices=("equal", "nothing", "neutral", "leave_out"),
        help="what a field is worth that a finding lacks, with --fields: a value of its own, 0, 1, "
        "or left out of the sum (default: equal)",
    )


def _add_shape(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--aggregation",
        choices=("best", "mean"),
        help="best matches of findings, or the mean over all pairs (default: best)",
    )
    group.add_argument(
        "--gamma", type=float, metavar="X", help="power; above 1 it sharpens (default: 8)"
    )
    group.add_argument(
        "--min-similarity",
        type=float,
        metavar="X",
        help="what is smaller, after the power, becomes 0 (default: 0)",
    )
    group.add_argument(
        "--top-k",
        type=int,
        metavar="N",
        help="keep the N largest of each row and column (default: all)",
    )
    group.add_argument(
        "--own-floor",
        type=float,
        metavar="X",
        help="least share of a row that the own report has (default: 0)",
    )


def _kernel(arguments: argparse.Namespace) -> "FindingKernel":
    if arguments.kernel is None:
        fields = _DEFAULT_FIELDS if arguments.fields is None else arguments.fields
        return _kernel_of_fields(fields, arguments.missing or "equal")
    others = [f"--{name}" for name in ("fields", "missing") if getattr(arguments, name) is not None]
    if others:
        raise ValueError(f"--kernel is the whole kernel; leave out {', '.join(others)}")
    return _kernel_of_file(arguments.kernel)


def _kernel_of_file(path: Path) -> "FindingKernel":
    from selip_core.documents import read_json_document
    from selip_core.similarity.kernels.definition import kernel_from

    definition = read_json_document(path)
    if isinstance(definition, dict) and isinstance(definition.get("definition"), dict):
        raise ValueError(
            f"{path} is the card of a saved similarity; give a file with its definition.kernel "
            f"alone: jq .definition.kernel {path} > kernel.json"
        )
    try:
        return kernel_from(definition)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _kernel_of_fields(fields: str, missing: Any) -> "FindingKernel":
    from selip_core.similarity import exact

    parts = [part.partition("=") for part in fields.split(",")]
    names = [name.strip() for name, _, _ in parts]
    weighted = [bool(equals) for _, equals, _ in parts]
    if not all(names) or len(set(names)) < len(names) or any(weighted) != all(weighted):
        raise ValueError(
            "--fields needs distinct names, all with a weight or none, such as "
            f"{_DEFAULT_FIELDS}, got {fields!r}"
        )
    weights = [_weight(weight, fields) if equals else 1 / len(parts) for _, equals, weight in parts]
    kernel, *others = [
        weight * exact(name, missing=missing) for name, weight in zip(names, weights, strict=True)
    ]
    for other in others:
        kernel = kernel + other
    return kernel


def _weight(weight: str, fields: str) -> float:
    try:
        return float(weight)
    except ValueError as error:
        raise ValueError(f"--fields needs numbers as weights, got {fields!r}") from error
