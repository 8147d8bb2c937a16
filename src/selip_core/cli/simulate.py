"""``selip simulate``: make a data set of simulated head-MRI studies."""

import argparse
from pathlib import Path

from selip_core.interruption import Interrupted, signal_of


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand and its arguments."""
    parser = subparsers.add_parser(
        "simulate",
        help="make simulated head-MRI studies with reports",
        description=(
            "Make simulated head-MRI studies: lesions in deformed copies of the MNI152 template, "
            "with findings, reports in English and Chinese, and the truth behind them. "
            "The same command goes on after an interruption."
        ),
        epilog="example: selip simulate --out data --studies 600",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to make or to go on with"
    )
    parser.add_argument("--studies", type=int, required=True, metavar="N", help="number of studies")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="start of all chance (default: 0)"
    )
    parser.add_argument(
        "--spacing",
        type=float,
        default=4.0,
        metavar="MM",
        help="edge of a voxel, 1 to 10 (default: 4)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: as many as cores)"
    )
    parser.add_argument(
        "--sequences",
        nargs="+",
        default=["T1", "T2", "FLAIR", "DWI", "ADC"],
        metavar="NAME",
        help="some of T1, T2, FLAIR, DWI, ADC (default: all)",
    )
    parser.add_argument(
        "--normal-share",
        type=float,
        default=0.4,
        metavar="SHARE",
        help="share of studies without lesions, 0 to 1 (default: 0.4)",
    )
    parser.add_argument(
        "--tail",
        type=float,
        default=1.0,
        metavar="POWER",
        help="power of the frequencies of findings; 0 makes all equally frequent (default: 1)",
    )
    parser.add_argument(
        "--held-out-share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of validation and test reports in phrases that no training report uses, "
        "0 to 1 (default: 0.5)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Simulate, and print where the manifest is."""
    from selip_core.simulation import simulate

    try:
        manifest = simulate(
            arguments.out,
            arguments.studies,
            arguments.seed,
            arguments.spacing,
            arguments.workers,
            sequences=arguments.sequences,
            normal_share=arguments.normal_share,
            tail=arguments.tail,
            held_out_share=arguments.held_out_share,
        )
    except KeyboardInterrupt as interrupt:
        raise Interrupted(
            f"stopped; the studies in {arguments.out} are complete, and the same command goes on",
            signal_of(interrupt),
        ) from None
    print(f"{arguments.studies} simulated studies: {manifest}")
    return 0
