"""What a radiologist would write about each sequence: the findings it shows, and the words."""

from dataclasses import dataclass

import numpy as np

from selip_core.findings import Finding, Report
from selip_core.simulation.chinese import CHINESE
from selip_core.simulation.english import ENGLISH
from selip_core.simulation.language import Language
from selip_core.simulation.lesions import Lesion
from selip_core.simulation.phrasing import word_finding, word_normal, word_report

EXTENTS = (("small", 2.5), ("moderate", 10.0), ("large", float("inf")))
"""Words for a size and the volume in millilitres below which they hold."""


@dataclass(frozen=True)
class SeenLesion:
    """A lesion of a study, and the volume that its mask has in millilitres."""

    lesion: Lesion
    volume_ml: float

    @property
    def extent(self) -> str:
        """The word for the volume."""
        return next(word for word, limit in EXTENTS if self.volume_ml < limit)


def write_report(
    study: str,
    sequence: str,
    lesions: list[SeenLesion],
    rng: np.random.Generator,
    held_out_share: float,
) -> Report:
    """Report what one sequence of a study shows, in English (``text``) and Chinese (``text_zh``).

    Held-out phrases are used with probability ``held_out_share`` (``held_out_phrasing`` tells).
    """
    held_out = bool(rng.random() < held_out_share)
    visible = [lesion for lesion in lesions if sequence in lesion.lesion.stage.signals]
    findings = [_find(lesion, sequence, rng, held_out) for lesion in visible]
    return Report.model_validate(
        {
            "id": f"{study}-{sequence}",
            "findings": findings,
            "text": _word(ENGLISH, "text", sequence, findings, rng, held_out),
            "normal": not findings,
            "text_zh": _word(CHINESE, "text_zh", sequence, findings, rng, held_out),
            "held_out_phrasing": held_out,
            "simulated": True,
        }
    )


def _find(seen: SeenLesion, sequence: str, rng: np.random.Generator, held_out: bool) -> Finding:
    lesion = seen.lesion
    fields = {
        "modality": sequence,
        "site": lesion.site.name,
        "laterality": lesion.laterality,
        "signal": lesion.stage.signals[sequence],
        "morphology": lesion.morphology,
        "extent": seen.extent,
    }
    if sequence in lesion.stage.oedema:
        fields["accompanied_by"] = "oedema"
    finding = Finding.model_validate(fields)
    words = {
        "text": word_finding(ENGLISH, finding, rng, held_out=held_out),
        "text_zh": word_finding(CHINESE, finding, rng, held_out=held_out),
    }
    return Finding.model_validate({**fields, **words})


def _word(
    language: Language,
    key: str,
    sequence: str,
    findings: list[Finding],
    rng: np.random.Generator,
    held_out: bool,
) -> str:
    if not findings:
        return word_normal(language, sequence, rng, held_out=held_out)
    sentences = [str(getattr(finding, key)) for finding in findings]
    return word_report(language, sentences, rng, held_out=held_out)
