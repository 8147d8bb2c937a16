"""What can be wrong: clinical kinds of lesions, how often, where, and their sign in each sequence.

The frequencies are our own guess at a general hospital's head MRI: a few pairs of kind and site
make up most findings, and many pairs are rare. Signals follow the usual teaching of
neuroradiology; a sequence that a stage does not name does not show the lesion.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """One appearance of a kind.

    Attributes:
        name: Age or type of the lesion.
        weight: Relative frequency within its kind.
        signals: The lesion's signal by sequence; a sequence left out does not show it.
        oedema: The signal of the surrounding oedema by sequence; empty if there is none.
    """

    name: str
    weight: float
    signals: Mapping[str, str]
    oedema: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A clinical kind of lesion.

    Attributes:
        weight: Relative frequency among abnormal studies.
        sites: Relative frequency by site.
        sides: Relative frequency of left, right and bilateral at a lateral site.
        morphologies: Relative frequency by morphology (`selip_core.simulation.shapes`).
        radius: Smallest and greatest radius in millimetres.
        fills: Whether the lesion takes the place of fluid as well (a mass) or of tissue only.
        white_only: Whether grey matter is spared.
    """

    name: str
    weight: float
    sites: Mapping[str, float]
    sides: tuple[float, float, float]
    stages: tuple[Stage, ...]
    morphologies: Mapping[str, float]
    radius: tuple[float, float]
    fills: bool = False
    white_only: bool = False


SMALL_VESSEL = Kind(
    name="chronic small-vessel change",
    weight=0.45,
    sites={
        "periventricular white matter": 0.34,
        "centrum semiovale": 0.22,
        "corona radiata": 0.20,
        "frontal lobe": 0.12,
        "parietal lobe": 0.06,
        "basal ganglia": 0.03,
        "brainstem": 0.02,
        "temporal lobe": 0.01,
    },
    sides=(0.2, 0.2, 0.6),
    stages=(
        Stage(
            "established",
            0.65,
            {"T1": "slightly low", "T2": "high", "FLAIR": "high", "ADC": "slightly high"},
        ),
        Stage("mild", 0.35, {"T2": "slightly high", "FLAIR": "high"}),
    ),
    morphologies={"punctate": 0.65, "confluent": 0.35},
    radius=(10, 14),
    white_only=True,
)

INFARCT = Kind(
    name="acute infarct",
    weight=0.25,
    sites={
        "basal ganglia": 0.2,
        "corona radiata": 0.17,
        "frontal lobe": 0.15,
        "parietal lobe": 0.12,
        "brainstem": 0.08,
        "thalamus": 0.08,
        "temporal lobe": 0.06,
        "cerebellum": 0.05,
        "insula": 0.03,
        "occipital lobe": 0.03,
        "centrum semiovale": 0.02,
        "corpus callosum": 0.01,
    },
    sides=(0.48, 0.46, 0.06),
    stages=(
        Stage("hyperacute", 0.15, {"DWI": "high", "ADC": "low"}),
        Stage(
            "acute",
            0.65,
            {"T1": "low", "T2": "high", "FLAIR": "high", "DWI": "high", "ADC": "low"},
        ),
        Stage(
            "subacute",
            0.2,
            {"T1": "low", "T2": "high", "FLAIR": "high", "DWI": "slightly high"},
        ),
    ),
    morphologies={"patchy": 0.8, "round": 0.2},
    radius=(7, 18),
)

TUMOUR = Kind(
    name="tumour with oedema",
    weight=0.11,
    sites={
        "frontal lobe": 0.36,
        "temporal lobe": 0.24,
        "parietal lobe": 0.17,
        "cerebellum": 0.08,
        "occipital lobe": 0.06,
        "corpus callosum": 0.03,
        "thalamus": 0.03,
        "insula": 0.03,
    },
    sides=(0.5, 0.5, 0.0),
    stages=(
        Stage(
            "low grade",
            0.4,
            {"T1": "low", "T2": "high", "FLAIR": "high", "ADC": "high"},
            {"T2": "slightly high", "FLAIR": "slightly high"},
        ),
        Stage(
            "high grade",
            0.6,
            {
                "T1": "low",
                "T2": "mixed",
                "FLAIR": "mixed",
                "DWI": "slightly high",
                "ADC": "slightly low",
            },
            {"T1": "slightly low", "T2": "high", "FLAIR": "high", "ADC": "high"},
        ),
    ),
    morphologies={"mass": 1.0},
    radius=(9, 17),
    fills=True,
)

HAEMORRHAGE = Kind(
    name="haemorrhage",
    weight=0.1,
    sites={
        "basal ganglia": 0.4,
        "thalamus": 0.22,
        "frontal lobe": 0.1,
        "temporal lobe": 0.08,
        "parietal lobe": 0.07,
        "cerebellum": 0.06,
        "brainstem": 0.05,
        "occipital lobe": 0.02,
    },
    sides=(0.5, 0.48, 0.02),
    stages=(
        Stage("acute", 0.35, {"T2": "low", "FLAIR": "low", "DWI": "low", "ADC": "low"}),
        Stage(
            "early subacute",
            0.35,
            {"T1": "high", "T2": "low", "FLAIR": "low", "DWI": "low", "ADC": "low"},
        ),
        Stage(
            "late subacute",
            0.3,
            {"T1": "high", "T2": "mixed", "FLAIR": "high", "DWI": "high", "ADC": "slightly low"},
        ),
    ),
    morphologies={"irregular": 0.5, "round": 0.5},
    radius=(8, 18),
    fills=True,
)

DEMYELINATION = Kind(
    name="demyelination",
    weight=0.09,
    sites={
        "periventricular white matter": 0.5,
        "corpus callosum": 0.2,
        "centrum semiovale": 0.1,
        "brainstem": 0.08,
        "cerebellum": 0.06,
        "corona radiata": 0.04,
        "temporal lobe": 0.02,
    },
    sides=(0.25, 0.25, 0.5),
    stages=(
        Stage(
            "active",
            0.4,
            {
                "T1": "low",
                "T2": "high",
                "FLAIR": "high",
                "DWI": "slightly high",
                "ADC": "slightly high",
            },
        ),
        Stage("inactive", 0.6, {"T1": "low", "T2": "high", "FLAIR": "high", "ADC": "high"}),
    ),
    morphologies={"ovoid": 1.0},
    radius=(7, 12),
)

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (SMALL_VESSEL, INFARCT, TUMOUR, HAEMORRHAGE, DEMYELINATION)
}
"""All kinds by name."""
