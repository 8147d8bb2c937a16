"""The entry point: parse, run the subcommand, turn errors into messages and exit codes."""

import argparse
import importlib
import logging
import os
import select
import sys
from collections.abc import Sequence

from selip_core._version import __version__
from selip_core.cli.failures import explain
from selip_core.cli.messages import (
    escape_missing_characters,
    open_closed_streams,
    plain_messages,
    show,
    unfailing_stderr,
)
from selip_core.interruption import ignore_signals, raised_signals, signal_of

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

CLOSED_OUTPUT = 141
"""Of a program whose output is not read to its end (``| head``): 128 + SIGPIPE."""


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
    cannot be used or a file cannot be written, with a message on standard error. 70: a mistake of
    selip-core itself. 130, 143, 129: ended by SIGINT (Ctrl-C), SIGTERM or SIGHUP.

    Args:
        arguments: Of the command line, without the program's name; by default the process's own.

    Example:
        >>> main(["retrieve", "--manifest", "nowhere.jsonl", "--run", "nowhere"])
        2
    """
    # Loaders of volumes are forked after texts were tokenised: tokenizers warns of its threads.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    open_closed_streams()
    escape_missing_characters()
    code = _run(arguments)
    if arguments is None and code > 128:  # the process ends, which a second signal must not change
        ignore_signals()
    return code


def _run(arguments: Sequence[str] | None) -> int:
    with unfailing_stderr(), raised_signals() as arrived:
        parsed = argparse.Namespace()
        try:
            _parse(arguments, parsed)
            with plain_messages(parsed.verbose):
                code = int(parsed.run(parsed))
                sys.stdout.flush()
                return code
        except KeyboardInterrupt as interrupt:
            print(f"selip: {str(interrupt) or 'interrupted'}", file=sys.stderr)
            return 128 + signal_of(interrupt)
        except Exception as error:
            if arrived():  # what an interrupt became on its way
                logging.getLogger(__name__).info("the interrupt came out as this", exc_info=error)
                print("selip: interrupted", file=sys.stderr)
                return 128 + arrived()
            if _drop_failing_output() and isinstance(error, BrokenPipeError):
                return CLOSED_OUTPUT
            code, message = explain(error, getattr(parsed, "go_on", None))
            logging.getLogger(__name__).info("the error came from here", exc_info=error)
            show("error", message)
            return code


def _parse(arguments: Sequence[str] | None, parsed: argparse.Namespace) -> None:
    """Parse into ``parsed``; help that cannot be written fails here, not at the end of Python."""
    try:
        build_parser().parse_args(arguments, parsed)
    except SystemExit:
        sys.stdout.flush()
        raise


def _drop_failing_output() -> bool:
    """Return whether standard output fails; what it still holds must not fail again at the end."""
    try:
        sys.stdout.flush()
        if not _reader_is_gone():
            return False
    except OSError:
        pass
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _reader_is_gone() -> bool:
    """Return whether standard output is a pipe that is not read; unbuffered, a flush cannot say."""
    try:
        poll = select.poll()
        poll.register(sys.stdout, 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # Windows has no poll, and a stream may be none
        return False
