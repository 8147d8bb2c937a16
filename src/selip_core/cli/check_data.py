"""``selip check-data``: everything that is wrong or odd with a data set."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selip_core.data import CheckResult, Preprocessing


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "check-data",
        help="tell everything that is wrong or odd with a manifest, its reports and its volumes",
        description="Tell everything that is wrong or odd with a data set. "
        "Exit code: 0 if it can be used, 1 if there are errors.",
        epilog="example: selip check-data data/manifest.jsonl",
    )
    parser.add_argument("manifest", metavar="MANIFEST", help="manifest.jsonl of the data set")
    parser.add_argument(
        "--reports",
        metavar="FILE",
        help="its reports (default: reports.jsonl beside the manifest)",
    )
    parser.add_argument(
        "--allow-sequence",
        action="append",
        default=[],
        metavar="NAME",
        help="a sequence to accept besides the known ones; may be repeated",
    )
    parser.add_argument(
        "--geometry",
        choices=["auto", "sform", "qform"],
        default="auto",
        help="the form of a NIfTI header to take where both are set and disagree (default: auto, "
        "which refuses such files); training takes it from data.geometry",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="settings of a training run: each volume is also prepared as that run will",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write all issues there; - prints them in place of the table"
    )
    parser.add_argument(
        "--show-values", action="store_true", help="show ids and paths, which can name patients"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads that read (default: as many as cores)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, print, and return the exit code."""
    from selip_core.data import KNOWN_SEQUENCES, check_manifest
    from selip_core.folders import require_writable

    if arguments.json not in (None, "-"):
        require_writable(Path(arguments.json).parent)
    result = check_manifest(
        arguments.manifest,
        reports=arguments.reports,
        sequences=KNOWN_SEQUENCES | set(arguments.allow_sequence),
        workers=arguments.workers,
        progress=True,
        geometry=arguments.geometry,
        preprocessing=_preprocessing(arguments.config),
    )
    if arguments.json != "-":
        print(result.table(show_values=arguments.show_values))
    if arguments.json is not None:
        _write_json(result, arguments.json, arguments.show_values)
    return 1 if result.errors else 0


def _preprocessing(config: str | None) -> "Preprocessing | None":
    if config is None:
        return None
    from selip_core.recipes import read_config

    return read_config(config).data.preprocessing


def _write_json(result: "CheckResult", target: str, show_values: bool) -> None:
    from selip_core.files import atomic_path

    text = json.dumps(result.as_dict(show_values), ensure_ascii=False, indent=2)
    if target == "-":
        print(text)
        return
    with atomic_path(target) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
