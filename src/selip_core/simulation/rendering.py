"""The image of one sequence: healthy tissue, changed by lesions, spoiled by the scanner."""

import numpy as np
from jaxtyping import Bool, Float, Int16

from selip_core.simulation.contrast import (
    CONTRASTS,
    add_rician_noise,
    draw_factor,
    draw_shading,
    healthy_signal,
)
from selip_core.simulation.placement import Head, PlacedLesion


def render(
    sequence: str,
    head: Head,
    inside: Bool[np.ndarray, "x y z"],
    placed: list[PlacedLesion],
    rng: np.random.Generator,
) -> Int16[np.ndarray, "x y z"]:
    """Return the image of one sequence; it is 0 outside the head.

    Args:
        sequence: One of `SEQUENCES`.
        head: The voxels of the head.
        inside: Where on the grid these voxels are.
        placed: The lesions; those that the sequence does not show change nothing but the fluid
            that a mass displaces.
        rng: Source of chance.
    """
    tissue = head.tissue
    for one in placed:
        if one.lesion.kind.fills:
            tissue = tissue.filled(one.body)
    parenchyma, fluid = healthy_signal(tissue, sequence, rng)
    for one in placed:
        parenchyma = parenchyma * lesion_factor(one, sequence, rng)
    signal = (parenchyma + fluid) * draw_shading(sequence, inside.shape, rng)[inside]
    volume = np.zeros(inside.shape, dtype=np.int16)
    volume[inside] = add_rician_noise(signal, CONTRASTS[sequence].noise, rng).round()
    return volume


def lesion_factor(
    placed: PlacedLesion, sequence: str, rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Return the factor of the tissue's signal in every voxel of the head.

    A mixed signal is high in the core and low in the rim.
    """
    stage = placed.lesion.stage
    factor = np.ones_like(placed.body)
    if word := stage.oedema.get(sequence):
        factor += placed.oedema * (draw_factor(word, rng) - 1)
    word = stage.signals.get(sequence)
    if word == "mixed":
        factor += placed.core * (draw_factor("high", rng) - 1)
        factor += (placed.body - placed.core).clip(0) * (draw_factor("low", rng) - 1)
    elif word:
        factor += placed.body * (draw_factor(word, rng) - 1)
    return factor
