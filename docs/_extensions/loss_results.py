"""Tables of the loss for the directive ``benchmark-results``."""

from collections.abc import Sequence
from typing import Any

Rows = Sequence[Sequence[str]]


def communication_rows(result: dict[str, Any]) -> Rows:
    """What a rank sends and computes in one step."""
    header = ["ranks", "features", "loss", "exchanges", "sent by a rank", "products", "operations"]
    rows = [
        [
            ranks,
            dtype,
            name.replace("selip_core", "SimilarityCLIPLoss"),
            str(len(found["collectives"])),
            f"{found['bytes_sent'] / 1024:.0f} KiB",
            f"{found['products']:.0f}",
            f"{found['operations'] / 1e6:.0f} million",
        ]
        for ranks, measured in result["worlds"].items()
        for dtype, losses in measured.items()
        for name, found in losses.items()
    ]
    return [header, *rows]
