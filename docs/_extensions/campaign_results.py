"""The table of the campaigns: what was searched, how often, and what was found."""

from collections.abc import Sequence
from typing import Any


def campaign_rows(result: dict[str, Any]) -> Sequence[Sequence[str]]:
    """Cases, failures and the command of each campaign."""
    rows = [
        [
            campaign["campaign"].rstrip("."),
            f"{campaign['cases']:,}",
            str(campaign["failures"]),
            f"pytest {campaign['test']} --campaign-scale {campaign['scale']:g}",
        ]
        for campaign in result["campaigns"]
    ]
    return [["campaign", "cases", "failures", "command"], *rows]
