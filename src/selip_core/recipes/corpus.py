"""What a training step takes from the manifest: a volume, its report, and both mirrored."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.data import Manifest
from selip_core.findings import Report
from selip_core.recipes.config import DataConfig
from selip_core.recipes.texts import report_text

_MIRRORED = "#mirrored"


@dataclass(frozen=True)
class TrainingBatch:
    """The inputs of one step, in one order.

    Attributes:
        images: Volumes, mirrored ones included.
        report_ids: Of the reports as they are shown in this step; for the target.
        texts: Their texts; for the text encoder.
    """

    images: Float[Tensor, "n 1 depth height width"]
    report_ids: list[str]
    texts: list[str]


class TrainingCorpus:
    """The reports of the training rows, and which of them are mirrored when.

    Whatever is drawn depends on seed, epoch and batch alone, so that a resumed run draws the same.

    Args:
        manifest: The training rows.
        config: The data section.
        seed: Seed of batches and mirrors.
    """

    def __init__(self, manifest: Manifest, config: DataConfig, seed: int) -> None:
        self.manifest = manifest
        self._config = config
        self._seed = seed
        self._by_id = dict(manifest.reports)
        if config.flip_probability > 0:
            self._by_id |= {
                mirrored.id: mirrored for mirrored in map(_mirrored, manifest.reports.values())
            }

    @property
    def reports(self) -> list[Report]:
        """Every report that a step may show: what targets are fitted on."""
        return list(self._by_id.values())

    @property
    def texts(self) -> list[str]:
        """Their texts, in the same order."""
        return [self._text(report) for report in self.reports]

    def batch(self, item: dict[str, Tensor], epoch: int, number: int) -> TrainingBatch:
        """The inputs of a step from a collated item of the data set; some volumes are mirrored."""
        generator = np.random.default_rng([self._seed, epoch, number])
        rows = item["index"].tolist()
        mirror = generator.random(len(rows)) < self._config.flip_probability
        ids = [
            self.manifest.rows[row].report + (_MIRRORED if mirrored else "")
            for row, mirrored in zip(rows, mirror, strict=True)
        ]
        chosen = torch.from_numpy(mirror)[:, None, None, None, None]
        images = torch.where(chosen, item["image"].flip(-1), item["image"])
        return TrainingBatch(images, ids, [self._text(self._by_id[id]) for id in ids])

    def _text(self, report: Report) -> str:
        text = report_text(report, self._config.text)
        assert text is not None, "texts are checked before training"
        return text


def _mirrored(report: Report) -> Report:
    from selip_core.data import flip_laterality

    return flip_laterality(report).model_copy(update={"id": report.id + _MIRRORED})
