"""Image features of every volume of a manifest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from selip_core.data import VolumeDataset
from selip_core.dual_encoder import DualEncoder
from selip_core.recipes.loading import load_batches, lost_readers_named


def embed_volumes(
    model: DualEncoder,
    dataset: VolumeDataset,
    batch_size: int,
    workers: int = 0,
    progress: bool = False,
    after_batch: Callable[[], None] | None = None,
) -> Float[Tensor, "volumes d"]:
    """Return unit image features in the order of the data set, in float32 on the CPU.

    Args:
        model: Stays in the mode that it is in.
        dataset: The volumes.
        batch_size: Volumes that are encoded at once.
        workers: Processes that read; 0 reads here.
        progress: Show a progress bar.
        after_batch: Called after each batch; it may raise.
    """
    rows = range(len(dataset))
    batches = [list(rows[start : start + batch_size]) for start in rows[::batch_size]]
    bar = tqdm(
        load_batches(dataset, batches, workers),
        desc="embed",
        total=len(batches),
        unit="batch",
        leave=False,
        disable=not progress,
    )
    device = model.log_logit_scale.device
    with evaluating(model), lost_readers_named():
        features = []
        for batch in bar:
            features.append(model.encode_image(batch["image"].to(device)).float().cpu())
            if after_batch is not None:
                after_batch()
    return torch.cat(features)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode without gradient inside the block; the mode before it afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
