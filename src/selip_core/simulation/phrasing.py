"""Findings put into words."""

import numpy as np

from selip_core.findings import Finding
from selip_core.simulation.language import Language


def word_finding(
    language: Language,
    finding: Finding,
    rng: np.random.Generator,
    *,
    held_out: bool = False,
) -> str:
    """Word one finding as a sentence, or two if oedema surrounds the lesion.

    Example:
        >>> from selip_core.simulation.english import ENGLISH
        >>> finding = Finding(modality="T2", site="thalamus", laterality="left", signal="high",
        ...                   morphology="round", extent="small")
        >>> word_finding(ENGLISH, finding, np.random.default_rng(1))
        'There is a small round lesion in the left thalamus, hyperintense on T2.'
    """
    extent = language.extents[finding.extent or ""]
    signal = language.signals[finding.signal or ""].draw(rng, held_out)
    sentence = language.sentences.draw(rng, held_out).format(
        place=_place(language, finding),
        signal=signal,
        a_signal=_with_article(signal),
        shape=language.shapes[finding.morphology or ""],
        extent=extent,
        a_extent=_with_article(extent),
        modality=finding.modality,
    )
    if finding.value("accompanied_by") == "oedema":
        sentence = language.oedema.draw(rng, held_out).format(sentence=sentence)
    return _capitalise(sentence)


def word_report(
    language: Language, sentences: list[str], rng: np.random.Generator, *, held_out: bool = False
) -> str:
    """Join the sentences of a report with lesions, and close it."""
    parts = [*sentences, language.others.draw(rng, held_out)]
    return language.separator.join(part for part in parts if part)


def word_normal(
    language: Language, modality: str, rng: np.random.Generator, *, held_out: bool = False
) -> str:
    """Word a report without a lesion."""
    return _capitalise(language.normal.draw(rng, held_out).format(modality=modality))


def _place(language: Language, finding: Finding) -> str:
    name, plural = language.sites[finding.site or ""]
    return language.places[finding.laterality or "midline"].format(site=name, sites=plural)


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _capitalise(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
