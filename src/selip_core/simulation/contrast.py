"""How tissue and lesions look in each sequence, and how a scanner spoils it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from selip_core.simulation.deformation import draw_waves, smooth_field

SEQUENCES = ("T1", "T2", "FLAIR", "DWI", "ADC")


@dataclass(frozen=True)
class Contrast:
    """Signal of healthy tissue in one sequence.

    Attributes:
        grey: Signal of grey matter; ADC in 1e-6 square millimetres a second, else no unit.
        white: Signal of white matter.
        fluid: Signal of cerebrospinal fluid.
        noise: Standard deviation of the noise in each of the two channels of the receiver.
        quantitative: A map in physical units has no gain of the scanner and no coil shading.
    """

    grey: float
    white: float
    fluid: float
    noise: float
    quantitative: bool = False


CONTRASTS: dict[str, Contrast] = {
    "T1": Contrast(grey=500, white=700, fluid=160, noise=20),
    "T2": Contrast(grey=460, white=340, fluid=1000, noise=20),
    "FLAIR": Contrast(grey=500, white=430, fluid=100, noise=20),
    "DWI": Contrast(grey=520, white=420, fluid=110, noise=25),
    "ADC": Contrast(grey=830, white=740, fluid=3000, noise=40, quantitative=True),
}

SIGNAL_FACTORS: dict[str, tuple[float, float]] = {
    "high": (1.5, 1.9),
    "slightly high": (1.25, 1.4),
    "slightly low": (0.72, 0.8),
    "low": (0.4, 0.6),
}
"""Range of a lesion's signal over that of the tissue it replaces, by the word a report uses."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """Fractions of tissue in the voxels of the head, each in ``[0, 1]``."""

    grey: Float[np.ndarray, " n"]
    white: Float[np.ndarray, " n"]
    fluid: Float[np.ndarray, " n"]

    @property
    def parenchyma(self) -> Float[np.ndarray, " n"]:
        """Fraction of grey and white matter together."""
        return np.asarray(self.grey + self.white)

    def filled(self, mass: Float[np.ndarray, " n"]) -> "Tissue":
        """Return the tissue after a mass (fraction in ``[0, 1]``) has displaced the fluid."""
        return Tissue(self.grey + self.fluid * mass, self.white, self.fluid * (1 - mass))


def healthy_signal(
    tissue: Tissue, sequence: str, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the signals of parenchyma and of fluid, which add up to the voxel's.

    Tissue differs from study to study by a few hundredths.
    """
    contrast = CONTRASTS[sequence]
    grey, white, fluid = rng.normal(1.0, 0.02, size=3)
    parenchyma = tissue.grey * contrast.grey * grey + tissue.white * contrast.white * white
    return parenchyma, tissue.fluid * contrast.fluid * fluid


def draw_factor(word: str, rng: np.random.Generator) -> float:
    """Draw the lesion's signal relative to healthy tissue for a word such as ``"low"``."""
    return float(rng.uniform(*SIGNAL_FACTORS[word]))


def draw_shading(
    sequence: str, shape: tuple[int, int, int], rng: np.random.Generator
) -> Float[np.ndarray, "x y z"]:
    """Draw the scanner's gain times the smooth shading of its coils (about 1 everywhere)."""
    gain = np.exp(rng.normal(0, 0.2))
    shading = np.exp(smooth_field(draw_waves(rng, size=0.08), shape))
    return np.ones_like(shading) if CONTRASTS[sequence].quantitative else gain * shading


def add_rician_noise(
    signal: Float[np.ndarray, " n"], noise: float, rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Return the magnitude of the signal after Gaussian noise in both channels of a receiver."""
    channels = rng.standard_normal((2, signal.size), dtype=np.float32) * np.float32(noise)
    return np.asarray(np.hypot(signal + channels[0], channels[1]))
