"""Where trained weights are: in a file, in a folder, or on the Hugging Face hub."""

import os
import re
from pathlib import Path

PICKLED = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".tar"})
WEIGHTS = "model.safetensors"


def find_weights(pretrained: str | os.PathLike[str]) -> Path:
    """Return the file of safetensors that is meant.

    Args:
        pretrained: That file, a folder with it, or the name ``"owner/model"`` of a folder on the
            hub, which is downloaded once. What is on the disk goes first.

    Raises:
        ValueError: If the file is pickled: unpickling runs whatever the file's author wrote.
        OSError: If nothing is there, or if the hub cannot be reached.
    """
    path = Path(pretrained)
    if path.suffix.lower() in PICKLED:
        raise ValueError(
            f"{path} is pickled, and unpickling can run any code: if you trust it, turn it into "
            "safetensors by `selip convert-weights`"
        )
    if path.is_dir():
        return _file_in(path)
    if path.is_file():
        return path
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(pretrained)) and path.suffix != ".safetensors":
        return _file_in(_download(str(pretrained)))
    raise FileNotFoundError(
        f"{path} is neither a file of safetensors, nor a folder with one, nor a name "
        "'owner/model' on the Hugging Face hub"
    )


def _file_in(folder: Path) -> Path:
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder} must hold {WEIGHTS}, or one file of safetensors; "
            f"it holds {[file.name for file in found]}"
        )
    return found[0]


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.md"]))
    except (OSError, ValueError) as error:
        raise OSError(
            f"{name} is no folder here, and the Hugging Face hub did not give it "
            f"({type(error).__name__}); download it where there is a network, and give the folder"
        ) from error
