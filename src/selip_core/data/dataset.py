"""Volumes of a manifest as a map-style data set."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from selip_core.data.cache import VolumeCache
from selip_core.data.manifest import Manifest
from selip_core.data.preprocessing import Preprocessing
from selip_core.errors import DataError, Problem


class VolumeItem(TypedDict):
    """One volume and the row of the manifest that it belongs to."""

    image: Float[Tensor, "1 depth height width"]
    index: int


class VolumeDataset(Dataset[VolumeItem]):
    """Item ``index`` is ``{"image": (1, depth, height, width), "index": index}``.

    Ready for torch's default collation, and for worker processes. Reports stay in the manifest,
    ``manifest.report_of(index)``: text is tokenised where the text encoder is.

    Args:
        manifest: One row an item, in its order.
        preprocessing: Applied to each volume.
        cache: A folder that keeps preprocessed volumes between runs, or None.
        in_memory: Read all volumes at once and keep them; for sets that fit. Every epoch then
            costs nothing, and every unusable volume is told before training starts.

    Raises:
        ValueError: If the manifest is empty.
        DataError: With every unusable volume, if ``in_memory``; otherwise the one that was asked
            for, when it is asked for.

    Example:
        >>> import tempfile, nibabel, numpy
        >>> from pathlib import Path
        >>> from selip_core.data import ManifestRow
        >>> folder, voxels = Path(tempfile.mkdtemp()), numpy.random.default_rng(0).random((8, 9, 7))
        >>> nibabel.save(nibabel.Nifti1Image(voxels, numpy.eye(4)), folder / "t2.nii.gz")
        >>> row = ManifestRow(id="1", study="s", patient="p", split="train", sequence="T2",
        ...                   volume="t2.nii.gz", report="r")
        >>> manifest = Manifest(folder / "manifest.jsonl", (row,), {}, lines=(1,))
        >>> VolumeDataset(manifest, Preprocessing((1, 1, 1), (7, 9, 8)))[0]["image"].shape
        torch.Size([1, 7, 9, 8])
    """

    def __init__(
        self,
        manifest: Manifest,
        preprocessing: Preprocessing,
        cache: str | os.PathLike[str] | None = None,
        in_memory: bool = False,
    ) -> None:
        if not len(manifest):
            raise ValueError("a data set needs at least one row, got a manifest without any")
        self.manifest = manifest
        self.preprocessing = preprocessing
        self._cache = None if cache is None else VolumeCache(cache, preprocessing)
        self._images = self._read_all() if in_memory else None

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> VolumeItem:
        index = range(len(self))[index]
        image = self._read(index) if self._images is None else self._images[index]
        return {"image": image, "index": index}

    def _read(self, index: int) -> Tensor:
        path = self.manifest.volume_path(index)
        where = self.manifest.place(index, "volume")
        return self._cache.get(path, where) if self._cache else self.preprocessing(path, where)

    def _read_all(self) -> list[Tensor]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(self._try_read, range(len(self))))
        problems = [
            problem for result in results if isinstance(result, tuple) for problem in result
        ]
        if problems:
            raise DataError(
                f"{self.manifest.path.name} names volumes that cannot be used", problems
            )
        return [result for result in results if isinstance(result, Tensor)]

    def _try_read(self, index: int) -> Tensor | tuple[Problem, ...]:
        try:
            return self._read(index)
        except DataError as error:
            return error.problems
