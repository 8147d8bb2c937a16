"""``selip doctor``: whether the loss computes on this machine what it should."""

import argparse
import json
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "doctor",
        help="compare the back ends of the loss with float64 on this machine",
        description="Compute the loss with every back end that can be used here, on every device "
        "and in every type, compare with float64, and tell which back end auto takes and why no "
        "other. Takes about ten seconds. Exit code: 0 if all are right, 1 if one is wrong.",
        epilog="example: selip doctor",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        metavar="N",
        help="begin no further check after that time (default: 10)",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the results there; - prints them in place of the table",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, print, and return the exit code."""
    from selip_core.files import atomic_path
    from selip_core.folders import require_writable
    from selip_core.testing import check_backends

    if arguments.json not in (None, "-"):
        require_writable(Path(arguments.json).parent)
    report = check_backends(arguments.seconds)
    text = json.dumps(report.as_dict(), indent=2)
    print(text if arguments.json == "-" else report.table())
    if arguments.json not in (None, "-"):
        with atomic_path(arguments.json) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return 1 if report.wrong else 0
