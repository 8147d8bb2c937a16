"""Image features of every volume of a manifest."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from selip_core.data import VolumeDataset
from selip_core.dual_encoder import DualEncoder
from selip_core.recipes.loading import load_batches


def embed_volumes(
    model: DualEncoder,
    dataset: VolumeDataset,
    batch_size: int,
    workers: int = 0,
    progress: bool = False,
) -> Float[Tensor, "volumes d"]:
    """Unit image features in the order of the data set, in float32 on the CPU."""
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
    with evaluating(model):
        features = [model.encode_image(batch["image"].to(device)).float().cpu() for batch in bar]
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
