"""Where trained weights are: in a file, in a folder, or on the Hugging Face hub."""

import os
from pathlib import Path

from selip_core.pretrained.folder import WEIGHTS
from selip_core.pretrained.hub import local_folder

PICKLED = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".tar"})
"""Endings of files that PyTorch and others pickle."""


def find_weights(pretrained: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the file of safetensors that is meant.

    Args:
        pretrained: That file, a folder with it, or the name ``"owner/model"`` of a folder on the
            hub, which is downloaded once. What is on the disk goes first.
        revision: Branch, tag or commit of the hub's model.

    Raises:
        ValueError: If the file is pickled: unpickling runs whatever the file's author wrote; if a
            revision is given for what is on the disk; or if it is no path, such as ``True``.
        OSError: If nothing is there, or if the hub cannot be reached.
    """
    if not isinstance(pretrained, str | os.PathLike):
        raise ValueError(
            "pretrained must be a file of safetensors, a folder of save_pretrained, or the name "
            f"'owner/model' of one on the hub, got {pretrained!r}: no encoder has weights that it "
            "would choose itself; None, the default, is random ones"
        )
    path = Path(pretrained)
    if path.suffix.lower() in PICKLED:
        raise pickled_error(path)
    if path.is_file():
        if revision is not None:
            raise ValueError(f"{path} is a file, which has no revision; leave revision out")
        return path
    if path.suffix == ".safetensors":
        raise FileNotFoundError(f"there is no file {path}")
    return _file_in(local_folder(pretrained, revision))


def pickled_error(path: Path) -> ValueError:
    """Return the error of a file that is pickled, which tells how to convert it."""
    return ValueError(
        f"{path} is pickled, and unpickling can run any code: if you trust it, convert it once by "
        f"`selip convert-weights {path.name} {path.stem}.safetensors`"
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
