"""The output folder: checked before any work, and tied to one set of parameters."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selip_core._version import __version__
from selip_core.documents import read_json_document
from selip_core.folders import require_writable
from selip_core.simulation.parameters import Parameters

CARD_NAME = "simulation.json"
PACKAGES = ("numpy", "scipy", "nibabel", "nilearn")


def prepare_folder(out: Path, parameters: Parameters) -> None:
    """Make the folder and its ``simulation.json``, or check that both agree with the parameters.

    Raises:
        ValueError: If the folder cannot be written, holds other data, or was made with other
            parameters.
    """
    require_writable(out)
    card = out / CARD_NAME
    if card.exists():
        _check_same(card, parameters)
        return
    if any(out.iterdir()):
        raise ValueError(
            f"{out} holds files but no {CARD_NAME}, so it is not a folder of simulated studies; "
            "choose an empty or a new folder"
        )
    from selip_core.files import atomic_path

    with atomic_path(card) as temporary:
        temporary.write_text(
            json.dumps(_card(parameters), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def refuse_to_shrink(out: Path, studies: int) -> None:
    """Refuse to write tables of fewer studies over those that are there: rows would be lost.

    Raises:
        ValueError: If the folder's tables name more studies.
    """
    truth = out / "truth.jsonl"  # a row a study
    held = len(truth.read_bytes().splitlines()) if truth.exists() else 0
    if studies < held:
        raise ValueError(
            f"{out} holds {held} studies, and {studies} were asked for; "
            f"ask for {held} or more, or choose another folder"
        )


def _check_same(card: Path, parameters: Parameters) -> None:
    try:
        found = read_json_document(card)["parameters"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{card} is not a card that the simulator wrote; choose another folder"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{card} is not a card that the simulator wrote; choose another folder")
    wanted = parameters.to_json()
    different = sorted(key for key in wanted | found if wanted.get(key) != found.get(key))
    if different:
        told = ", ".join(
            f"{key} was {found.get(key)!r}, is now {wanted.get(key)!r}" for key in different
        )
        raise ValueError(
            f"{card.parent} was made with other parameters ({told}); "
            "give the earlier ones to go on with it, or choose another folder"
        )


def _card(parameters: Parameters) -> dict[str, Any]:
    return {
        "simulated": True,
        "description": (
            "Simulated data: lesions drawn into the MNI152 template (ICBM 2009a), with reports "
            "made from what was drawn. No patient was examined."
        ),
        "parameters": parameters.to_json(),
        "versions": {
            "selip-core": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }
