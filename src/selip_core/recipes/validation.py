"""The one figure that is followed during training: R@1 within a sequence."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.data import VolumeDataset
from selip_core.dual_encoder import DualEncoder
from selip_core.evaluation import expected_recall, recall_hits, same_group
from selip_core.recipes.config import DataConfig
from selip_core.recipes.embedding import embed_volumes, evaluating
from selip_core.recipes.galleries import Gallery, sequence_galleries
from selip_core.recipes.texts import TextFeatures, manifest_texts


class ValidationRecall(NamedTuple):
    """Image to text R@1 of abnormal volumes among abnormal distinct reports, over all sequences.

    Attributes:
        recall: R@1, in [0, 1].
        chance: What a random ranking reaches.
        queries: Number of volumes.
    """

    recall: float
    chance: float
    queries: int


class Validator:
    """Measures a model, as it is when called, on the validation volumes.

    Args:
        model: The model that is trained.
        dataset: The validation volumes.
        config: The data section.
    """

    def __init__(self, model: DualEncoder, dataset: VolumeDataset, config: DataConfig) -> None:
        self._model = model
        self._dataset = dataset
        self._config = config
        self._galleries = sequence_galleries(dataset.manifest)
        self._texts = manifest_texts(dataset.manifest, config.text)
        self._text_features = TextFeatures(model, self._texts)

    def __call__(self, after_batch: Callable[[], None] | None = None) -> ValidationRecall | None:
        """Return R@1 now, or None where no volume is abnormal.

        Args:
            after_batch: Called after each batch of volumes; it may raise.
        """
        images = embed_volumes(
            self._model,
            self._dataset,
            self._config.batch_size,
            self._config.workers,
            after_batch=after_batch,
        )
        with evaluating(self._model):
            texts = self._text_features(self._texts).float().cpu()
        return validation_recall(self._galleries, images, texts)


def validation_recall(
    galleries: list[Gallery],
    image_features: Float[Tensor, "rows d"],
    text_features: Float[Tensor, "rows d"],
) -> ValidationRecall | None:
    """R@1 over all galleries, or None where no volume is abnormal.

    Args:
        galleries: Of ``sequence_galleries``.
        image_features: One a row of the manifest.
        text_features: Of the same rows' reports.
    """
    hits, chance = [], []
    for gallery in (gallery.abnormal() for gallery in galleries):
        if not gallery.queries:
            continue
        relevant = same_group(gallery.labels, gallery.entry_labels)
        queries, entries = list(gallery.queries), list(gallery.entries)
        hits.append(recall_hits(image_features[queries] @ text_features[entries].T, relevant, 1))
        chance.append(expected_recall(relevant, 1))
    if not hits:
        return None
    all_hits, all_chance = torch.cat(hits), torch.cat(chance)
    return ValidationRecall(float(all_hits.mean()), float(all_chance.mean()), len(all_hits))
