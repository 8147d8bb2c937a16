"""Made-up corpora of reports: findings of a long-tailed vocabulary, and free text.

Reports are streamed: one exists at a time. They are made without validation, and those of the long
tail share their findings, so that what is measured is the similarity and not pydantic.
"""

import itertools
import random
from collections.abc import Iterator

from selip_core.findings import Finding, Report

VOCABULARY = 20_000
LARGEST_REPORT = 5

_REGIONS = (
    "frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe", "insula", "thalamus",
    "putamen", "caudate nucleus", "globus pallidus", "hippocampus", "amygdala", "corpus callosum",
    "internal capsule", "external capsule", "corona radiata", "centrum semiovale", "midbrain",
    "pons", "medulla", "cerebellar hemisphere", "vermis", "cingulate gyrus", "precentral gyrus",
    "postcentral gyrus", "lateral ventricle", "third ventricle", "fourth ventricle", "sella",
    "cavernous sinus", "orbit", "maxillary sinus", "ethmoid sinus", "sphenoid sinus",
    "frontal sinus", "mastoid", "cerebellopontine angle", "falx", "tentorium", "convexity",
    "skull base",
)  # fmt: skip
_PARTS = tuple(
    f"{depth} {direction} part of the"
    for depth in ("deep", "superficial", "subcortical", "juxtacortical", "periventricular")
    for direction in (
        "anterior", "posterior", "superior", "inferior", "medial", "lateral", "outer", "inner"
    )
)  # fmt: skip
_SIDES = ("left", "right", "bilateral", "midline")
_SIGNALS = ("high", "low", "iso", "mixed", "restricted")
_SHAPES = ("patchy", "nodular", "punctate", "ring-like", "linear", "confluent")


def vocabulary(size: int = VOCABULARY) -> list[Finding]:
    """Return distinct findings, each with a site, a side, a signal and words of its own."""
    generator = random.Random(0)
    every = list(itertools.product(_PARTS, _REGIONS, _SIDES, _SIGNALS))
    return [
        Finding(
            site=f"{part} {region}",
            laterality=side,
            signal=signal,
            text=f"{generator.choice(_SHAPES)} {signal} signal, {side} {part} {region}",
        )
        for part, region, side, signal in generator.sample(every, size)
    ]


def long_tail(count: int, findings: list[Finding], seed: int = 1) -> Iterator[Report]:
    """Yield reports of 1 to 5 findings; the k-th most frequent is k times rarer than the first."""
    generator = random.Random(seed)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(findings) + 1)))
    for number in range(count):
        size = generator.randint(1, LARGEST_REPORT)
        drawn = tuple(generator.choices(findings, cum_weights=weights, k=size))
        yield Report.model_construct(id=f"report {number}", findings=drawn)


def free_text(count: int, seed: int = 1) -> Iterator[Report]:
    """Yield reports of 1 to 5 findings that hardly repeat: numbers stand in site and words."""
    generator = random.Random(seed)
    for number in range(count):
        size = generator.randint(1, LARGEST_REPORT)
        findings = tuple(_sentence(generator) for _ in range(size))
        yield Report.model_construct(id=f"report {number}", findings=findings)


def _sentence(generator: random.Random) -> Finding:
    part, region = generator.choice(_PARTS), generator.choice(_REGIONS)
    side, signal = generator.choice(_SIDES), generator.choice(_SIGNALS)
    shape, level = generator.choice(_SHAPES), generator.randint(1, 400)
    length, width = generator.randint(10, 500) / 10, generator.randint(10, 500) / 10
    site = f"{part} {region}, slice {level}"
    text = f"{shape} {signal} signal of {length} x {width} mm in the {side} {site}"
    return Finding.model_construct(site=site, laterality=side, signal=signal, text=text)
