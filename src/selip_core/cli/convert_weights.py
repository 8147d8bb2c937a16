"""``selip convert-weights``: a pickled file of PyTorch into safetensors."""

import argparse
from pathlib import Path


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "convert-weights",
        help="turn trusted weights of PyTorch (.pth, .pt, .ckpt, .bin) into safetensors",
        description="Turn a pickled file of PyTorch that you trust into safetensors, which cannot "
        "hold code. It is unpickled in a process of its own that knows tensors and plain "
        "containers only; common settings beside them are skipped, and anything else is refused. "
        "OUT is for create_image_encoder(..., pretrained=OUT), or image_encoder.pretrained of the "
        "settings of selip pretrain.",
        epilog="example: selip convert-weights resnet_50.pth resnet_50.safetensors",
    )
    parser.add_argument("source", type=Path, metavar="FILE", help="the file that torch.save wrote")
    parser.add_argument("target", type=Path, metavar="OUT", help="the file to write: .safetensors")
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="where in the file the state dict is, such as state_dict or model.state_dict "
        "(default: the only one there is)",
    )
    parser.add_argument(
        "--prefix",
        default="",
        metavar="TEXT",
        help="keep only tensors whose names begin with TEXT, and take it off, such as module. or "
        "encoder. (default: keep all)",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it is there")
    parser.add_argument(
        "--limit",
        type=float,
        default=32,
        metavar="GIB",
        help="refuse files that unpack to more than so many GiB (default: 32)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print what was converted."""
    from selip_core.encoders.weights import convert_weights

    conversion = convert_weights(
        arguments.source,
        arguments.target,
        key=arguments.key,
        prefix=arguments.prefix,
        overwrite=arguments.force,
        limit_bytes=int(arguments.limit * 2**30),
    )
    print(conversion)
    print(f"written: {arguments.target}")
    return 0
