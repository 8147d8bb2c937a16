"""What a training step takes from the manifest: a volume, its report, and both mirrored."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from selip_core.data import (
    LateralityFlip,
    LimitedBatchSampler,
    Manifest,
    flip_laterality,
    flipped_id,
)
from selip_core.findings import NORMAL_LABEL, Report, distinct_label
from selip_core.recipes.config import DataConfig
from selip_core.recipes.texts import report_text


@dataclass(frozen=True)
class TrainingBatch:
    """The inputs of one step, in one order.

    Attributes:
        images: Volumes, some of them mirrored.
        report_ids: Of the reports as they are shown in this step; for the target.
        texts: Their texts; for the text encoder.
    """

    images: Float[Tensor, "n 1 depth height width"]
    report_ids: list[str]
    texts: list[str]


class TrainingCorpus:
    """The training rows in batches, and the reports that a step may show.

    Whatever is drawn depends on seed and epoch alone, so that a resumed run draws the same.

    Args:
        manifest: The training rows; all have a text.
        config: The data section.
        seed: Seed of batches and mirrors.

    Raises:
        ValueError: If there are fewer rows than a batch holds, or the limits leave no full batch.
    """

    def __init__(self, manifest: Manifest, config: DataConfig, seed: int) -> None:
        _require_a_batch(len(manifest), config)
        self.manifest = manifest
        labels = [distinct_label(manifest.report_of(index)) for index in range(len(manifest))]
        self._sampler = LimitedBatchSampler(
            labels,
            [label == NORMAL_LABEL for label in labels],
            config.batch_size,
            config.max_normal,
            config.max_duplicates,
            seed,
        )
        self._flip = LateralityFlip(config.flip_probability, seed)
        self._text_field = config.text
        self._reports = dict(manifest.reports)
        if config.flip_probability > 0:
            self._reports |= {
                flipped_id(id): flip_laterality(report) for id, report in manifest.reports.items()
            }

    @property
    def reports(self) -> list[Report]:
        """Every report that a step may show: what targets are fitted on."""
        return list(self._reports.values())

    @property
    def texts(self) -> list[str]:
        """Their texts, in the same order."""
        return [self._text(report) for report in self.reports]

    @property
    def batches_per_epoch(self) -> int:
        """The same in every epoch."""
        return len(self._sampler)

    def epoch_batches(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, as row numbers."""
        self._sampler.set_epoch(epoch)
        return list(self._sampler)

    def batch(self, item: dict[str, Any], epoch: int) -> TrainingBatch:
        """The inputs of a step from a collated item of the data set; some volumes are mirrored."""
        rows = item["index"].tolist()
        images, mirrored = self._flip(item["image"], rows, epoch)
        ids = [self.manifest.rows[row].report for row in rows]
        ids = [
            flipped_id(id) if flip else id for id, flip in zip(ids, mirrored.tolist(), strict=True)
        ]
        return TrainingBatch(images, ids, [self._text(self._reports[id]) for id in ids])

    def _text(self, report: Report) -> str:
        text = report_text(report, self._text_field)
        assert text is not None, "texts are checked before training"
        return text


def _require_a_batch(rows: int, config: DataConfig) -> None:
    if rows < config.batch_size:
        raise ValueError(
            f"batch_size={config.batch_size} is larger than the {rows} training rows; lower it "
            "(at least 2 rows are needed)"
        )
