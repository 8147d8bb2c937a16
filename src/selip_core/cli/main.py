"""The entry point: parse, run the subcommand, turn errors into messages and exit codes."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from selip_core._version import __version__
from selip_core.cli.messages import plain_messages, tell

SUBCOMMANDS = (
    "simulate",
    "check_data",
    "similarity",
    "pretrain",
    "retrieve",
    "convert_weights",
    "demo",
    "doctor",
)
"""Modules of this package, each with ``add_parser(subparsers)`` and ``run(arguments) -> int``."""

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; building it imports none of what they run."""
    parser = argparse.ArgumentParser(
        prog="selip",
        description="Train image-text models on medical volumes and radiology reports, with "
        "targets softened by how alike the reports are.",
        epilog="A first look, on simulated data: selip demo --out demo. What a subcommand takes: "
        "selip COMMAND --help. Your own data: check-data, then pretrain, then retrieve.",
    )
    parser.add_argument("--version", action="version", version=f"selip {__version__}")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="log what is being done; stands before COMMAND"
    )
    subparsers = parser.add_subparsers(title="subcommands", metavar="COMMAND", required=True)
    for name in SUBCOMMANDS:
        module = importlib.import_module(f"selip_core.cli.{name}")
        module.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``selip`` and return its exit code.

    0: done. 1: the subcommand found what it looks for, such as errors in the data. 2: the input
    cannot be used, told on standard error. 130: interrupted by Ctrl-C.

    Args:
        arguments: Of the command line, without the program's name; by default the process's own.

    Example:
        >>> main(["retrieve", "--manifest", "nowhere.jsonl", "--run", "nowhere"])
        2
    """
    parsed = build_parser().parse_args(arguments)
    # Loaders of volumes are forked after texts were tokenised: tokenizers warns of its threads.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with plain_messages(parsed.verbose):
            return int(parsed.run(parsed))
    except KeyboardInterrupt as interrupt:
        print(f"selip: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, ImportError) as error:
        logging.getLogger(__name__).info("the error came from here", exc_info=error)
        tell("error", _message(error))
        return BAD_INPUT


def _message(error: Exception) -> str:
    """A file that cannot be opened, without Python's error number; else what the error says."""
    if isinstance(error, OSError) and error.filename is not None and error.filename2 is None:
        return f"{error.filename}: {error.strerror}; is the path right?"
    return str(error)
