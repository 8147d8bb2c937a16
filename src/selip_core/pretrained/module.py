"""Modules that are saved to a folder, and loaded from it or from the Hugging Face hub."""

import os
from pathlib import Path
from typing import Self

from torch import nn

from selip_core.files import atomic_folder
from selip_core.pretrained.card import ModelCard
from selip_core.pretrained.folder import load_model, write_model
from selip_core.pretrained.sharded import gathered


class PretrainedModule(nn.Module):
    """A module that is saved with all that is needed to build it again.

    A folder holds ``model.safetensors``, ``config.json`` and the model card ``README.md``. There is
    no pickle in it and no path of the machine it was written on.

    Example:
        >>> import tempfile, torch
        >>> from selip_core import create_image_encoder
        >>> from selip_core.encoders import ImageEncoder
        >>> from selip_core.pretrained import ModelCard
        >>> folder = Path(tempfile.mkdtemp()) / "encoder"
        >>> encoder = create_image_encoder("resnet10", embed_dim=64, width=0.25).eval()
        >>> encoder.save_pretrained(folder, ModelCard(data="Random weights.", licence="MIT"))
        >>> sorted(file.name for file in folder.iterdir())
        ['README.md', 'config.json', 'model.safetensors']
        >>> again = ImageEncoder.from_pretrained(folder)
        >>> volumes = torch.randn(1, 1, 8, 32, 32)
        >>> torch.equal(again(volumes), encoder(volumes))
        True
    """

    def save_pretrained(
        self, folder: str | os.PathLike[str], card: ModelCard | None = None
    ) -> None:
        """Make a folder from which :meth:`from_pretrained` gives the same to the last bit.

        Weights keep their type (float32, bfloat16) and their layout (channels-last). What is about
        training stays out: frozen stages, gradient checkpointing, the state of an optimiser. The
        folder appears whole or not at all.

        A model sharded by ``fully_shard``, or whose encoders are, is saved as it was before. Every
        rank calls this; the first one gathers the weights on its CPU and writes, and the others
        return when the folder is there.

        Args:
            folder: A new folder; those above it are made.
            card: What you tell of the model. What you leave out, the card says is left out.

        Raises:
            FileExistsError: If the folder is there and not empty.
            ValueError: If the module cannot be built again from what JSON holds: a pooling or a
                part of yours that has no name; or if it is wrapped by FullyShardedDataParallel.
            OSError: If the folder cannot be written; of a sharded model on every rank.
        """
        with gathered(self) as writes:
            if writes:
                _write(self, Path(folder), card)

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | os.PathLike[str], *, revision: str | None = None
    ) -> Self:
        """Return what :meth:`save_pretrained` wrote, on the CPU and in evaluation mode.

        From the folder of a larger model the part of this class is taken:
        ``ImageEncoder.from_pretrained`` takes the image encoder out of a dual encoder.

        Args:
            name_or_folder: A folder, which never touches the network; or the name ``owner/model``
                of a model of the Hugging Face hub, which is downloaded once into the hub's cache.
            revision: Branch, tag or commit of the hub's model.

        Raises:
            FileNotFoundError: If there is no such folder or model, or a file of it is missing.
            ValueError: If the folder is no saved model, of another format, damaged, or holds no
                model of this class.
        """
        return load_model(cls, name_or_folder, revision)


def _write(module: nn.Module, target: Path, card: ModelCard | None) -> None:
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(
            f"{target} is there already; a model is saved into a new folder: name another, or "
            "remove this one first"
        )
    with atomic_folder(target) as partial:
        write_model(module, partial, card)
