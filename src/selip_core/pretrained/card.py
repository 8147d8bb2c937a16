"""What people tell of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True)
class ModelCard:
    """What you tell of a model: what nobody can read off its weights.

    Texts are Markdown, and stand on the card as they are: nothing of a patient belongs here. Of
    what you leave out the card says that it was left out.

    Attributes:
        title: Its name.
        summary: What it is, in a sentence or two.
        data: What it was trained on: how many studies, patients and reports, sequences, scanners
            and hospitals, years, how reports were read, which permission there was.
        training: How it was trained.
        metrics: Figures on data that were not trained on, by name: numbers, or texts such as
            ``"0.36 [0.31, 0.41]"``.
        metrics_data: What the figures were measured on, and how.
        intended_use: What it is for, and who shall use it.
        limits: What it is not for, and where it is known or likely to fail.
        licence: An SPDX name such as ``"Apache-2.0"``. Left out, that of the weights it started
            from.
        languages: Of the reports, as ISO 639-1 codes such as ``"en"``.
        tags: What it shall be found by.

    Example:
        >>> card = ModelCard(data="1,000 simulated studies", metrics={"R@1": 0.36}, licence="MIT")
        >>> card.intended_use is None
        True
    """

    title: str | None = None
    summary: str | None = None
    data: str | None = None
    training: str | None = None
    metrics: Mapping[str, float | str] = field(default_factory=dict)
    metrics_data: str | None = None
    intended_use: str | None = None
    limits: str | None = None
    licence: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
