"""``selip similarity``: fit one to reports, look at what it makes of batches and of two reports."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from selip_core.cli.similarity_settings import add_settings, given_settings, similarity_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from selip_core.similarity import Similarity
    from selip_core.similarity.description import Description

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_PICTURES = (".png", ".svg", ".pdf")


def add_parser(subparsers: "Subparsers") -> None:
    """Add the subcommand and its own subcommands."""
    parser = subparsers.add_parser(
        "similarity",
        help="fit the similarity of reports, describe what it makes of batches, explain a pair",
        description="How alike reports are by their findings: the target of training.",
    )
    commands = parser.add_subparsers(title="subcommands", metavar="COMMAND", required=True)
    _add_fit(commands)
    _add_describe(commands)
    _add_explain(commands)


def fit(arguments: argparse.Namespace) -> int:
    """Fit, save, and say where."""
    from selip_core.findings import read_reports
    from selip_core.folders import require_writable
    from selip_core.similarity.saving import require_free

    similarity = similarity_of(arguments)
    require_free(arguments.out, arguments.overwrite)
    require_writable(arguments.out.parent)
    similarity.fit(read_reports(arguments.reports), progress=True)
    similarity.save(arguments.out, overwrite=arguments.overwrite)
    print(f"fitted to {len(similarity.index)} reports: {similarity.kernel}")
    print(f"written: {arguments.out}")
    return 0


def describe(arguments: argparse.Namespace) -> int:
    """Print what a similarity makes of batches."""
    from selip_core._optional import require
    from selip_core.folders import require_writable

    if arguments.plot is not None:
        require("matplotlib", "plot")
    for path in (arguments.json, arguments.plot):
        if path not in (None, "-"):
            require_writable(Path(path).parent)
    description = _fitted(arguments).describe(
        arguments.batch_sizes, seed=arguments.seed, show_ids=arguments.show_ids
    )
    _tell(description, arguments.json)
    if arguments.plot is not None:
        _draw(description, arguments.plot)
    return 0


def explain(arguments: argparse.Namespace) -> int:
    """Print why two reports are as alike as they are."""
    similarity = _fitted(arguments)
    # The ids stand on the command line already.
    _tell(similarity.explain(arguments.a, arguments.b, show_ids=True), arguments.json)
    return 0


def _add_fit(commands: "Subparsers") -> None:
    parser = commands.add_parser(
        "fit",
        help="fit a similarity to reports and save it",
        description="Fit a similarity to reports and save it as a folder of safetensors and JSON, "
        "for load_similarity. The folder holds ids and the words of findings.",
        epilog="example: selip similarity fit data/reports.jsonl --out fitted --gamma 4",
    )
    parser.add_argument("reports", type=Path, metavar="REPORTS", help="reports in JSON Lines")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="a new or empty folder"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a similarity that was saved there"
    )
    add_settings(parser)
    parser.set_defaults(run=fit)


def _add_describe(commands: "Subparsers") -> None:
    parser = commands.add_parser(
        "describe",
        help="tell what a similarity makes of batches, and whether it will do as a target",
        description="Draw batches at random and tell how much mass the own report keeps, how many "
        "reports count as positives, what plain CLIP would push apart, and what it costs.",
        epilog="example: selip similarity describe data/reports.jsonl --paper",
    )
    _add_source(parser)
    parser.add_argument(
        "--batch-sizes",
        type=_sizes,
        default=(16, 64, 256, 1024, 4096),
        metavar="N,...",
        help="reports in a batch (default: 16,64,256,1024,4096)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw (default: 0)")
    parser.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help="draw it there: .png, .svg or .pdf (needs matplotlib)",
    )
    parser.add_argument(
        "--show-ids", action="store_true", help="name the most and least alike reports by id"
    )
    add_settings(parser)
    parser.set_defaults(run=describe)


def _add_explain(commands: "Subparsers") -> None:
    parser = commands.add_parser(
        "explain",
        help="tell which findings and fields make two reports alike",
        description="Tell which findings and fields make two reports as alike as they are. "
        "It shows the words of their findings.",
        epilog="example: selip similarity explain fitted report-17 report-203",
    )
    _add_source(parser)
    parser.add_argument("a", metavar="A", help="id of a report")
    parser.add_argument("b", metavar="B", help="id of another")
    add_settings(parser)
    parser.set_defaults(run=explain)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="folder of a saved similarity; or reports in JSON Lines, to which one is fitted by "
        "the settings below",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write it there as JSON; - prints JSON in place of text"
    )


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"needs whole numbers and commas, such as 16,64, got {text!r}"
        ) from error


def _picture(text: str) -> str:
    if not text.endswith(_PICTURES):
        raise argparse.ArgumentTypeError(f"must end in {', '.join(_PICTURES)}, got {text!r}")
    return text


def _fitted(arguments: argparse.Namespace) -> "Similarity":
    from selip_core.findings import read_reports
    from selip_core.similarity import load_similarity

    if arguments.source.name == "card.json":
        raise ValueError(f"{arguments.source} is the card of a saved similarity; give its folder")
    if not arguments.source.is_dir():
        similarity = similarity_of(arguments)
        return similarity.fit(read_reports(arguments.source), progress=True)
    given = given_settings(arguments)
    if given:
        raise ValueError(
            f"{arguments.source} is a saved similarity with settings of its own; leave out "
            f"{', '.join(given)}, or name reports in JSON Lines"
        )
    return load_similarity(arguments.source)


def _draw(description: "Description", target: str) -> None:
    from selip_core.files import atomic_path

    figure, _ = description.plot()
    with atomic_path(target) as temporary:
        cast("Figure", figure).savefig(temporary)


def _tell(result: Any, target: str | None) -> None:
    from selip_core.files import atomic_path

    if target != "-":
        print(result)
    if target is None:
        return
    text = json.dumps(result.as_dict(), ensure_ascii=False, indent=2)
    if target == "-":
        print(text)
        return
    with atomic_path(target) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
