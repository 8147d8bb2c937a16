"""``selip pretrain``: train a dual encoder."""

import argparse
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand and its arguments."""
    parser = subparsers.add_parser(
        "pretrain",
        help="train an image and a text encoder on the training rows of a manifest",
        description="Train an image and a text encoder on the training rows of a manifest. The run "
        "folder gets config.json, history.jsonl (a row an epoch), checkpoint/ and at the end "
        "model/. Ctrl-C writes a checkpoint; the same command with --resume goes on.",
        epilog="example: selip pretrain --manifest data/manifest.jsonl --config clip.toml "
        "--out runs/clip",
    )
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE", help="the data set")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings, .toml or .json (default: defaults)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of the run"
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep preprocessed volumes there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, and print where the model is."""
    from selip_core.recipes import PretrainConfig, pretrain, read_config

    config = read_config(arguments.config) if arguments.config else PretrainConfig()
    model = pretrain(
        arguments.manifest, config, arguments.out, resume=arguments.resume, cache=arguments.cache
    )
    print(f"the model: {model}")
    print(f"next: selip retrieve --manifest {arguments.manifest} --run {arguments.out}")
    return 0
