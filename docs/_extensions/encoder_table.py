"""The directive ``encoder-table``: all image encoders, from the registry as pages are built."""

import json
from importlib.metadata import PackageMetadata, metadata
from typing import Any

import torch
from benchmark_results import RESULTS, table
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from selip_core.encoders import ImageEncoder, create_image_encoder, list_image_encoders
from selip_core.encoders.registry import published_weights
from selip_core.encoders.spec import Size

HEADER = ["name", "parameters", "strides", "sizes", "network", "published weights"]
MEASURED = RESULTS / "encoders.json"
CUBE = [96, 96, 96]


class EncoderTable(Directive):
    """Show a row for each encoder, as it is by default."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        self.state.document.settings.record_dependencies.add(str(MEASURED))
        rows = [HEADER, *(row_of(name) for name in list_image_encoders())]
        memory = memory_of_a_step()
        if memory:
            told = [
                "memory of a step at 96x96x96",
                *(memory.get(name, "") for name, *_ in rows[1:]),
            ]
            rows = [[*row[:2], more, *row[2:]] for row, more in zip(rows, told, strict=True)]
        return [table(rows)]


def memory_of_a_step() -> dict[str, str]:
    """Return what forward and backward of a volume took of memory, where that was measured."""
    part = json.loads(MEASURED.read_text(encoding="utf-8"))["parts"]["throughput"]
    return {
        row["encoder"]: f"{row['step_bytes'] / row['batch'] / 2**30:.1f} GiB"
        for row in part["result"]["rows"]
        if row["size"] == CUBE and row["variant"] == "plain" and "step_bytes" in row
    }


def row_of(name: str) -> list[str]:
    """Return what is told of an encoder, or what has to be installed for it."""
    weights = ", ".join(published_weights(name))
    try:
        with torch.device("meta"):
            encoder = create_image_encoder(name)
    except ImportError as error:
        return [name, "", "", "", str(error), weights]
    spec = encoder.spec
    return [
        name,
        f"{spec.parameter_count / 1e6:.1f} M",
        f"{by_axis(spec.stage_strides[0])} to {by_axis(spec.stage_strides[-1])}",
        f"{by_axis(spec.minimum_size)} or more"
        + multiples(spec.divisor)
        + above(spec.normalized_stride),
        network_of(encoder),
        weights,
    ]


def by_axis(size: Size) -> str:
    """Return a size as people write it."""
    return "x".join(map(str, size))


def multiples(divisor: Size) -> str:
    """Return what sizes must be multiples of, if anything."""
    return "" if divisor == (1, 1, 1) else f", multiples of {by_axis(divisor)}"


def above(stride: Size | None) -> str:
    """Return what one axis must be larger than, if anything."""
    return "" if stride is None else f", above {by_axis(stride)} along an axis"


def network_of(encoder: ImageEncoder) -> str:
    """Return the package that the network comes from, and its licence."""
    for module in encoder.modules():
        package = type(module).__module__.partition(".")[0]
        if package not in ("selip_core", "torch"):
            told = metadata(package.replace("_", "-"))
            # With hyphens, a name can be broken into lines.
            return f"{told['Name'].replace('_', '-')} ({licence_of(told)})"
    return "selip-core"


def licence_of(told: PackageMetadata) -> str:
    """Return a package's licence, of which it may tell the name or the whole text."""
    first_line, *_ = (told["License-Expression"] or told["License"]).strip().splitlines()
    return "Apache-2.0" if "Apache" in first_line else first_line


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("encoder-table", EncoderTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
