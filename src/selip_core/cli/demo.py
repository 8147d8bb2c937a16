"""``selip demo``: plain CLIP and similarity, side by side, on simulated studies."""

import argparse
from pathlib import Path

from selip_core.interruption import Interrupted, signal_of


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand and its arguments."""
    parser = subparsers.add_parser(
        "demo",
        help="compare plain CLIP and similarity on simulated head MRI, and make a page of it",
        description="Simulate head-MRI studies with reports, train two models on them, with plain "
        "CLIP and with the similarity of reports, and measure both on held-out studies. Writes "
        "report.html, a page for people, and results.json. Some minutes on two cores. After an "
        "interruption the same command goes on.",
        epilog="example: selip demo --out demo",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--studies", type=int, metavar="N", help="simulated studies (default: 1500)"
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the training volumes (default: 12)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="start of all chance (default: 0)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it, and print the table and where the page is."""
    from selip_core.recipes import demo, demo_table

    given = {
        name: value
        for name in ("studies", "epochs", "seed")
        if (value := getattr(arguments, name)) is not None
    }
    try:
        report = demo(arguments.out, **given)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            f"stopped; what is done is kept in {arguments.out}, and the same command goes on",
            signal_of(interrupt),
        ) from None
    print("\nSimulated data, test studies; 95 % intervals by patient; one seed proves nothing.\n")
    print(demo_table(arguments.out))
    print(f"\nthe report: {report}")
    return 0
