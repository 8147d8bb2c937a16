"""The rows of a manifest that the data section of a configuration speaks of."""

import os

from selip_core.data import KNOWN_SEQUENCES, Manifest, read_manifest
from selip_core.data.manifest import Split
from selip_core.recipes.config import DataConfig


def read_rows(manifest: str | os.PathLike[str], config: DataConfig) -> Manifest:
    """All rows of a manifest; a sequence that the configuration names is a known one.

    Raises:
        DataError: If the manifest or its reports cannot be used.
        FileNotFoundError: If there is no such manifest.
    """
    return read_manifest(manifest, sequences=KNOWN_SEQUENCES | set(config.sequences or ()))


def require_rows(rows: Manifest, split: Split, config: DataConfig) -> None:
    """Check that a selection holds anything.

    Raises:
        ValueError: If it does not.
    """
    if not len(rows):
        wanted = "" if config.sequences is None else f" of {', '.join(config.sequences)}"
        raise ValueError(
            f"{rows.path} has no {split} rows{wanted}; add some, or choose another split or other "
            "sequences (data.sequences)"
        )
