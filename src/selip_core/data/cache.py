"""Preprocessed volumes kept on disk."""

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from selip_core.data.preprocessing import Preprocessing
from selip_core.files import atomic_path
from selip_core.folders import require_writable

PREPROCESSING_VERSION = 2
"""Raised whenever equal parameters give other voxels than before."""

_logger = logging.getLogger(__name__)


class VolumeCache:
    """A folder of preprocessed volumes in safetensors, float32, so bit-equal to a fresh reading.

    An entry's key is the source's path, sizes and times, the preprocessing and its version. A
    source that was changed is read again; entries that nothing asks for any more stay until the
    folder is deleted, which is always safe. Several processes may share a folder.

    Args:
        folder: Made if it is missing.
        preprocessing: What to apply to volumes that are not there.

    Raises:
        ValueError: If the folder cannot be written to.

    Example:
        >>> import tempfile, nibabel, numpy
        >>> folder, voxels = Path(tempfile.mkdtemp()), numpy.random.default_rng(0).random((8, 9, 7))
        >>> nibabel.save(nibabel.Nifti1Image(voxels, numpy.eye(4)), folder / "t2.nii.gz")
        >>> cache = VolumeCache(folder / "cache", Preprocessing((1, 1, 1), (7, 9, 8)))
        >>> cache.get(folder / "t2.nii.gz", "manifest.jsonl:1 $.volume").shape
        torch.Size([1, 7, 9, 8])
        >>> len(list(cache.folder.iterdir()))
        1
    """

    def __init__(self, folder: str | os.PathLike[str], preprocessing: Preprocessing) -> None:
        self.folder = Path(folder)
        self.preprocessing = preprocessing
        require_writable(self.folder)

    def get(self, path: Path, where: str) -> Float[Tensor, "1 depth height width"]:
        """Return a volume from the cache, or preprocess and keep it.

        A damaged entry is built again.

        Raises:
            DataError: If the volume cannot be used; ``where`` names its place.
        """
        try:
            key = self._key(path)
        except OSError:
            return self.preprocessing(path, where)  # which raises, with the place
        entry = self.folder / f"{key}.safetensors"
        image = self._load(entry)
        if image is None:
            image = self.preprocessing(path, where)
            self._store(entry, image)
        return image

    def _key(self, path: Path) -> str:
        import monai

        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        recipe = [PREPROCESSING_VERSION, monai.__version__, asdict(self.preprocessing)]
        text = json.dumps([*recipe, os.fspath(path.resolve()), stamps])
        return hashlib.sha256(text.encode()).hexdigest()

    def _load(self, entry: Path) -> Tensor | None:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            image = load(entry.read_bytes())["image"]
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError):
            _logger.warning("a damaged entry of the volume cache is built again")
            return None
        return image if tuple(image.shape) == (1, *self.preprocessing.size) else None

    @staticmethod
    def _store(entry: Path, image: Tensor) -> None:
        from safetensors.torch import save_file

        with atomic_path(entry) as temporary:
            save_file({"image": image}, temporary)
