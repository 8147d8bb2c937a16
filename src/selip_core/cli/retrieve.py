"""``selip retrieve``: measure a trained dual encoder."""

import argparse
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand and its arguments."""
    parser = subparsers.add_parser(
        "retrieve",
        help="measure how well a trained model finds the report of a volume, and the reverse",
        description="Measure retrieval within each sequence, both ways, on galleries with one "
        "entry per distinct report; normal reports are shown apart. Beside every figure: a 95% "
        "bootstrap interval by patient, the chance level, the size of the gallery. Writes "
        "retrieval.json into the run's folder, or retrieval-SPLIT.json if that is not test, and "
        "retrieval_queries.jsonl, by which two runs are compared.",
        epilog="example: selip retrieve --manifest data/manifest.jsonl --run runs/first",
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="FILE", help="manifest.jsonl of the data"
    )
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of a run of selip pretrain",
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="the rows to measure on (default: test)",
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=6,
        metavar="N",
        help="volumes whose ten nearest reports retrieval.json lists (default: 6)",
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep preprocessed volumes there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    from selip_core.recipes import retrieve
    from selip_core.recipes.run_folder import RunFolder
    from selip_core.report import retrieval_table

    result = retrieve(
        arguments.manifest,
        arguments.run_folder,
        split=arguments.split,
        examples=arguments.examples,
        cache=arguments.cache,
    )
    print(retrieval_table({"value (95 % interval)": result}))
    folder, split = RunFolder(arguments.run_folder), arguments.split
    ids = "; its examples name rows and reports by id, --examples 0 leaves them out"
    print(f"written: {folder.retrieval(split)}{ids if result['examples'] else ''}")
    print(f"written: {folder.queries(split)}, with pseudonyms in place of ids")
    return 0
