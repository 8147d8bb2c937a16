"""What the header of a file of weights tells of them."""

import json
import math
from dataclasses import replace

from selip_core.encoders.spec import Size
from selip_core.encoders.weights.file import WeightsFile
from selip_core.pretrained.source import WeightsSource
from selip_core.pretrained.tensors import GRID

SPACING = "spacing"
"""Where a header tells, as JSON, the spacing in millimetres along (depth, height, width)."""

PREFIX = "prefix"
"""Where a header tells what a converter took off the start of all names."""


def told_source(file: WeightsFile, known: WeightsSource) -> WeightsSource:
    """Return what the header tells of licence and place; else what is known of the format."""
    return replace(
        known,
        licence=file.metadata.get("licence", known.licence),
        url=file.metadata.get("url", known.url),
    )


def told_spacing(file: WeightsFile) -> tuple[float, float, float] | None:
    """Return the millimetres a voxel, if they are told.

    Raises:
        ValueError: If they are no three lengths.
    """
    if SPACING not in file.metadata:
        return None
    try:
        depth, height, width = map(float, json.loads(file.metadata[SPACING]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file.path}: the header's spacing must be three numbers") from error
    if not all(0 < each < math.inf for each in (depth, height, width)):
        raise ValueError(f"{file.path}: the header's spacing must be three lengths in millimetres")
    return depth, height, width


def told_grid(file: WeightsFile) -> Size | None:
    """Return the patches along each axis that positional embeddings stand for, if they are told.

    Raises:
        ValueError: If they are no three counts.
    """
    if GRID not in file.metadata:
        return None
    problem = f"{file.path}: the header's grid must be three counts of patches"
    try:
        depth, height, width = json.loads(file.metadata[GRID])
    except (TypeError, ValueError) as error:
        raise ValueError(problem) from error
    if not all(isinstance(each, int) and each > 0 for each in (depth, height, width)):
        raise ValueError(problem)
    return depth, height, width
