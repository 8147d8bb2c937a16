"""``selip pretrain``: train a dual encoder."""

import argparse
from functools import partial
from pathlib import Path

from selip_core.interruption import Interrupted, signal_of


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand and its arguments."""
    parser = subparsers.add_parser(
        "pretrain",
        help="train an image and a text encoder on the training rows of a manifest",
        description="Train an image and a text encoder on the training rows of a manifest. The run "
        "folder gets config.json (all settings), history.jsonl (a row an epoch), checkpoint/ and "
        "at the end model/. Ctrl-C, SIGTERM and SIGHUP write a checkpoint first; the same command "
        "with --resume goes on. "
        "The page 'Bring your own data' of the documentation lists all settings.",
        epilog="example: selip pretrain --manifest data/manifest.jsonl --config settings.toml "
        "--out runs/first",
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        required=True,
        metavar="FILE",
        help="manifest.jsonl of the data; reports.jsonl stands beside it",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings, .toml or .json; what it leaves out keeps its default (default: all do)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of the run"
    )
    parser.add_argument(
        "--accept-changed-data",
        action="store_true",
        help="with --resume: go on although rows, reports or volumes changed",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep preprocessed volumes there, for the next run",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, and print where the model is."""
    arguments.go_on = partial(_how_to_write_on, arguments.out)
    try:
        model = _pretrain(arguments)
    except KeyboardInterrupt as interrupt:
        message = str(interrupt) or _how_to_go_on(arguments.out)
        raise Interrupted(message, signal_of(interrupt)) from None
    print(f"the model: {model}")
    print(f"next: selip retrieve --manifest {arguments.manifest} --run {arguments.out}")
    return 0


def _pretrain(arguments: argparse.Namespace) -> Path:
    from selip_core.recipes import PretrainConfig, pretrain, read_config

    config = PretrainConfig()
    if arguments.config:
        config = read_config(arguments.config, sources=not arguments.resume)
    return pretrain(
        arguments.manifest,
        config,
        arguments.out,
        resume=arguments.resume,
        accept_changed_data=arguments.accept_changed_data,
        cache=arguments.cache,
    )


def _how_to_go_on(out: Path) -> str:
    """Return what to say of an interruption before training, or of a second one within a step.

    The folder is looked at by names, as RunFolder would import torch: seconds that a scheduler may
    not grant.
    """
    how = "go on with the same command and --resume"
    if any(out.glob("checkpoint/step-*")):
        return f"stopped; the last checkpoint in {out} is kept: {how}"
    if (out / "config.json").exists():
        return f"stopped before the first checkpoint: {how}"
    return "stopped; nothing is saved yet: the same command, without --resume, starts anew"


def _how_to_write_on(out: Path) -> str:
    """Return what to do once a file can be written again, or memory is there."""
    return "go on with --resume" if (out / "config.json").exists() else "run it again"
