"""English phrases. A held-out phrase occurs in no training report."""

from selip_core.simulation.language import Language, Phrasings

ENGLISH = Language(
    places={
        "left": "left {site}",
        "right": "right {site}",
        "bilateral": "bilateral {sites}",
        "midline": "{site}",
    },
    sites={
        "frontal lobe": ("frontal lobe", "frontal lobes"),
        "parietal lobe": ("parietal lobe", "parietal lobes"),
        "temporal lobe": ("temporal lobe", "temporal lobes"),
        "occipital lobe": ("occipital lobe", "occipital lobes"),
        "insula": ("insula", "insulae"),
        "basal ganglia": ("basal ganglia", "basal ganglia"),
        "thalamus": ("thalamus", "thalami"),
        "corona radiata": ("corona radiata", "coronae radiatae"),
        "centrum semiovale": ("centrum semiovale", "centra semiovalia"),
        "periventricular white matter": (
            "periventricular white matter",
            "periventricular white matter",
        ),
        "corpus callosum": ("corpus callosum", "corpus callosum"),
        "cerebellum": ("cerebellar hemisphere", "cerebellar hemispheres"),
        "brainstem": ("brainstem", "brainstem"),
    },
    signals={
        "high": Phrasings(
            ("high-signal", "hyperintense", "increased-signal"), ("bright", "elevated-signal")
        ),
        "slightly high": Phrasings(
            ("slightly high-signal", "mildly hyperintense"), ("faintly bright",)
        ),
        "slightly low": Phrasings(("slightly low-signal", "mildly hypointense"), ("faintly dark",)),
        "low": Phrasings(
            ("low-signal", "hypointense", "decreased-signal"), ("dark", "reduced-signal")
        ),
        "mixed": Phrasings(
            ("mixed-signal", "heterogeneous-signal"), ("variable-signal", "inhomogeneous")
        ),
    },
    shapes={
        "round": "round lesion",
        "ovoid": "ovoid lesion",
        "mass": "mass",
        "irregular": "irregular lesion",
        "patchy": "patchy area",
        "punctate": "cluster of punctate foci",
        "confluent": "confluent area",
    },
    extents={"small": "small", "moderate": "moderate-sized", "large": "large"},
    sentences=Phrasings(
        (
            "{a_extent} {signal} {shape} is seen in the {place}.",
            "{modality} shows {a_extent} {signal} {shape} in the {place}.",
            "There is {a_extent} {shape} in the {place}, {signal} on {modality}.",
            "{place}: {extent} {signal} {shape}.",
        ),
        (
            "On {modality}, {a_signal} {shape} of {extent} extent lies within the {place}.",
            "Within the {place} we note {a_extent} {signal} {shape}.",
            "{modality} demonstrates {a_signal} {shape}, {extent}, involving the {place}.",
        ),
    ),
    oedema=Phrasings(
        ("{sentence} There is surrounding oedema.", "{sentence} Oedema surrounds it."),
        ("{sentence} It is accompanied by perilesional swelling.",),
    ),
    others=Phrasings(
        (
            "",
            "No other abnormal signal is seen.",
            "The remaining brain parenchyma is unremarkable.",
        ),
        ("Elsewhere the brain appears normal.", "Otherwise no abnormality."),
    ),
    normal=Phrasings(
        (
            "No abnormal signal is seen in the brain parenchyma on {modality}.",
            "{modality} shows no abnormality of the brain.",
            "Normal signal of the brain on {modality}.",
            "The brain parenchyma is unremarkable on {modality}. No focal lesion is seen.",
        ),
        (
            "On {modality} the brain appears normal throughout.",
            "{modality} does not demonstrate any lesion of the cerebrum, cerebellum or brainstem.",
        ),
    ),
    separator=" ",
)
