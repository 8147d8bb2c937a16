"""What a language needs to word a report: its phrases as data, and how they are put together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Phrases = tuple[str, ...]


@dataclass(frozen=True)
class Phrasings:
    """Ways to say the same thing.

    Attributes:
        shared: Used in every split.
        held_out: Used in validation and test studies only.
    """

    shared: Phrases
    held_out: Phrases

    def draw(self, rng: np.random.Generator, held_out: bool) -> str:
        """Draw a shared phrase, or a held-out one."""
        choices = self.held_out if held_out else self.shared
        return choices[int(rng.integers(len(choices)))]


@dataclass(frozen=True)
class Language:
    """The words of one language.

    Sentences have the slots ``{place}``, ``{signal}``, ``{shape}``, ``{extent}`` and
    ``{modality}``; ``{a_extent}`` and ``{a_signal}`` put the right article before the word.

    Attributes:
        places: Format of a place by laterality (``"midline"`` where there is none), with the slot
            ``{site}`` (or ``{sites}``, the plural).
        sites: Name and plural of each site.
        signals: Words for each signal.
        shapes: A noun phrase for each morphology.
        extents: A word for each extent.
        sentences: A lesion in one sentence.
        oedema: Appended to the sentence of a lesion with oedema; slot ``{sentence}``.
        others: Closing sentences of a report with lesions; may be empty.
        normal: Whole reports without a lesion.
        separator: Between sentences.
    """

    places: Mapping[str, str]
    sites: Mapping[str, tuple[str, str]]
    signals: Mapping[str, Phrasings]
    shapes: Mapping[str, str]
    extents: Mapping[str, str]
    sentences: Phrasings
    oedema: Phrasings
    others: Phrasings
    normal: Phrasings
    separator: str
