"""Preprocessed volumes kept on disk."""

import hashlib
import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.data.preprocessing import Preprocessing
from selip_core.errors import WriteError
from selip_core.files import atomic_path, remove_partial_files
from selip_core.folders import is_readable, is_wrong_path, require_writable
from selip_core.tensor_files import load_tensors, save_tensors

PREPROCESSING_VERSION = 2
"""Raised whenever equal parameters give other voxels than before."""

_FORMAT = 2
_IMAGE = "image"
_KEY = "key"
_DAY = 86400.0

_READ_ONLY, _WRITE, _READ, _DAMAGED, _CLOSED = range(5)
_MESSAGES = (
    "the volume cache cannot be written to ({reason}): what it holds is used, and volumes that it "
    "lacks are preprocessed in every epoch",
    "a volume could not be kept in the volume cache ({reason}): this run goes on and adds nothing "
    "more; make room or name another folder for the next one",
    "an entry of the volume cache cannot be read ({reason}): it is left as it is, and its volume "
    "is preprocessed in every epoch",
    "a damaged entry of the volume cache is built again",
    "the volume cache cannot be used ({reason}): volumes are preprocessed in every epoch; make "
    "room or name another folder for the next run",
)

_logger = logging.getLogger(__name__)


class VolumeCache:
    """A folder of preprocessed volumes in safetensors, float32, so bit-equal to a fresh reading.

    An entry's key is the source's path, sizes and times, the preprocessing and its version. A
    source that was changed is read again; entries that nothing asks for any more stay until the
    folder is deleted, which is always safe. Several processes and users may share a folder.

    The cache is optional: whatever happens to it, :meth:`get` returns the volume. An entry that is
    not what was written, by its SHA-256, is built again. An entry that cannot be read is not called
    damaged, and stays. A folder of another user that can only be read is read, and one that can be
    neither made nor read is done without. Once an entry cannot be written, on a full disk or since
    the folder is gone, no more are. Each of these is one warning in the log, however many entries
    and worker processes meet it.

    Args:
        folder: Made if it is missing.
        preprocessing: What to apply to volumes that are not there.

    Raises:
        ValueError: If the path can be no folder, as where a file has its name.

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
        self._warned = torch.zeros(len(_MESSAGES), dtype=torch.bool)
        with suppress(RuntimeError):  # no shared memory: each worker warns
            self._warned.share_memory_()  # type: ignore[no-untyped-call]
        try:
            require_writable(self.folder)
        except ValueError as error:
            if is_wrong_path(error):
                raise
            self._warn(_READ_ONLY if is_readable(self.folder) else _CLOSED, error.__cause__)
        else:
            remove_partial_files(self.folder, minimum_age=_DAY)

    def get(self, path: Path, where: str) -> Float[Tensor, "1 depth height width"]:
        """Return a volume from the cache, or preprocess it and try to keep it.

        Raises:
            DataError: If the volume cannot be used; ``where`` names its place.
        """
        if self._warned[_CLOSED]:
            return self.preprocessing(path, where)
        try:
            key = self._key(path)
        except OSError:
            return self.preprocessing(path, where)  # which raises, with the place
        entry = self.folder / f"{key}.safetensors"
        image, is_free = self._load(entry)
        if image is None:
            image = self.preprocessing(path, where)
            if is_free:
                self._store(entry, image)
        return image

    def _key(self, path: Path) -> str:
        import monai

        files = sorted(path.iterdir()) if path.is_dir() else [path]
        stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        versions = [_FORMAT, PREPROCESSING_VERSION, monai.__version__]
        settings = asdict(self.preprocessing)
        del settings["max_volume_gib"]  # decides whether a volume is read, never its voxels
        text = json.dumps([*versions, settings, str(path.resolve()), stamps])
        return hashlib.sha256(text.encode()).hexdigest()

    def _load(self, entry: Path) -> tuple[Tensor | None, bool]:
        """Return an entry if it is there and whole, and whether its place may be written to."""
        try:
            tensors, facts = load_tensors(entry)
        except FileNotFoundError:
            if entry.is_symlink():  # to nowhere
                self._warn(_DAMAGED)
            return None, True
        except OSError as error:
            self._warn(_READ, error)
            return None, False
        except ValueError:
            self._warn(_DAMAGED)
            return None, True
        image = tensors.get(_IMAGE)
        is_own = facts.get(_KEY) == entry.stem  # not a copy of another volume's entry
        if image is None or not is_own or not self._is_usable(image):
            self._warn(_DAMAGED)
            return None, True
        return image, False

    def _is_usable(self, image: Tensor) -> bool:
        if image.dtype != torch.float32 or image.shape != (1, *self.preprocessing.size):
            return False
        return all(torch.isfinite(extreme) for extreme in image.aminmax())

    def _store(self, entry: Path, image: Tensor) -> None:
        if self._warned[_READ_ONLY] or self._warned[_WRITE]:
            return
        try:
            with atomic_path(entry) as temporary:
                save_tensors({_IMAGE: image}, temporary, {_KEY: entry.stem})
        except WriteError as error:
            self._warn(_WRITE, error)

    def _warn(self, kind: int, error: BaseException | None = None) -> None:
        """Log one warning of each kind, without the paths of the data."""
        if not self._warned[kind]:
            self._warned[kind] = True
            reason = getattr(error, "strerror", None)
            _logger.warning(_MESSAGES[kind].format(reason=reason or type(error).__name__))
