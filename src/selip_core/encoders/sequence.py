"""Pyramids of encoders whose stages are modules run one after another."""

from collections.abc import Iterable
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder


def run_stages(
    encoder: ImageEncoder, x: Float[Tensor, "b c d h w"]
) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
    """Return what each of the encoder's stages gives, from the input on.

    Raises:
        ValueError: If the shape of ``x`` is not one that the encoder's spec allows.
    """
    encoder.check_input(x)
    maps = []
    for stage in encoder.stages():
        x = encoder.run_stage(partial(run_in_order, stage), x)
        maps.append(x)
    return maps


def run_in_order(modules: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Return ``x`` after every module."""
    for module in modules:
        x = module(x)
    return x
