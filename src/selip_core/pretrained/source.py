"""Where weights come from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightsSource:
    """Where an encoder's weights come from, and on what terms.

    Attributes:
        name: The name they are known by, such as ``"medicalnet"``.
        licence: Their licence, as an SPDX name where there is one.
        url: Where they were published.
    """

    name: str
    licence: str
    url: str
