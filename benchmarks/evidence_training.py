"""One run of the study: a small dual encoder trained on one target."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from evidence_data import EvidenceData, Part, reduced_precision
from evidence_mechanism import look_at, smoothing_of, target_shape
from evidence_runs import ARMS, LOGGED, Run
from evidence_targets import Rows, Target, make_target
from selip_core import DualEncoder, Report, SimilarityCLIPLoss, create_image_encoder
from selip_core.data import LateralityFlip, LimitedBatchSampler, flip_laterality
from selip_core.findings import NORMAL_LABEL, distinct_label
from selip_core.losses import scheduled_weight
from selip_core.recipes.config import OptimizerConfig
from selip_core.recipes.schedule import learning_rate_factor, parameter_groups
from selip_core.similarity import SimilarityOperator

EMBED_DIM = 128
SCALE = 1 / 0.07
ENCODERS: dict[str, dict[str, Any]] = {
    "resnet10": {"stem": "cubic", "stages": 3},
    "resnet18": {},
    "resnet50": {},
}
"""Options of the image encoders: the first sees small volumes."""
LOOKED_AT = 20
"""Batches on which the shape of a target is told."""


@dataclass(frozen=True, eq=False)
class Training:
    """What a run trains on.

    A row from 0 to n - 1 is a volume, row n + i is volume i mirrored left to right.

    Attributes:
        part: The n training volumes.
        words: The embedding of the report that is shown with each row.
        reports: These reports: of the volumes, or permuted.
        target: From rows to similarities; None is plain CLIP.
        first: The first batches.
    """

    part: Part
    words: Float[Tensor, "two_n hidden"]
    reports: list[Report]
    target: Target | None
    first: list[Rows]

    @classmethod
    def of(cls, run: Run, data: EvidenceData) -> "Training":
        """Return what this run trains on."""
        part = data.train
        shown = torch.arange(len(part.images))
        if run.permuted:
            generator = torch.Generator().manual_seed(run.seed)
            shown = shown[torch.randperm(len(shown), generator=generator)]
        own = part.reports
        reports = [own[row] for row in shown.tolist()]
        reports += [flip_laterality(report) for report in reports]
        words = torch.cat([part.words[shown], part.mirrored_words[shown]])
        name = ARMS[run.arm].target
        target = make_target(name, data, reports, run.seed, run.noise) if name else None
        batches = batches_of(run, reports)
        first = [next(batches) for _ in range(LOOKED_AT)]
        return cls(part, words.to(part.images.device), reports, target, first)

    def volumes(self, rows: Rows) -> Float[Tensor, "batch 1 depth height width"]:
        """Return the volumes of a batch, mirrored where the row says so."""
        volumes, rows = len(self.part.images), rows.to(self.part.images.device)
        images = self.part.volumes(rows % volumes)
        is_mirrored = (rows >= volumes)[:, None, None, None, None]
        return torch.where(is_mirrored, images.flip(-1), images)

    def similarities(self, rows: Rows) -> SimilarityOperator | None:
        """Return the raw similarities of a batch, or None for plain CLIP."""
        return None if self.target is None else self.target(rows).to(self.words.device)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run leaves.

    Attributes:
        model: In evaluation mode, after the last step: the checkpoint that is measured.
        history: What the loss did, ``LOGGED`` times.
        target: The shape of the target in the first batches; empty without one.
        label_smoothing: Of the loss.
    """

    model: DualEncoder
    history: list[dict[str, float]]
    target: dict[str, float]
    label_smoothing: float


def train(run: Run, data: EvidenceData) -> Trained:
    """Train one run to its last step."""
    training = Training.of(run, data)
    model = build_model(run, training.words.shape[1]).to(training.words.device)
    loss_fn = build_loss(run, training, data)
    settings = OptimizerConfig(
        learning_rate_image=run.peak_learning_rate, learning_rate_text=run.peak_learning_rate
    )
    optimizer = torch.optim.AdamW(parameter_groups(model, settings))
    batches = batches_of(run, training.reports)
    history: list[dict[str, float]] = []
    for step in range(run.steps):
        if training.target is not None:
            loss_fn.similarity_weight = scheduled_weight(
                run.similarity_weight, step, run.steps, run.schedule
            )
        factor = learning_rate_factor(step, run.steps, settings.warmup, settings.decay_power)
        for group in optimizer.param_groups:
            group["lr"] = factor * group["peak"]
        with reduced_precision(training.words.device):
            loss = loss_of(model, loss_fn, training, next(batches))
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {step} of {run}")
        torch.autograd.backward(loss)
        clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.clamp_logit_scale_()
        if (step + 1) * LOGGED // run.steps > step * LOGGED // run.steps:
            told = {"step": step + 1, "loss": loss.item()}
            history.append(told | mechanism(model, loss_fn, training))
    shape = target_shape(training.target, training.first) if training.target else {}
    return Trained(model.eval(), history, shape, loss_fn.label_smoothing)


def build_model(run: Run, hidden: int) -> DualEncoder:
    """Return the model at its start: the same for all arms of a seed."""
    torch.manual_seed(run.seed)
    image_encoder = create_image_encoder(
        run.encoder,
        embed_dim=EMBED_DIM,
        pooling="grid",
        width=run.width,
        **ENCODERS[run.encoder],
    )
    # The text backbone is frozen: its embeddings are data, and the projection is the encoder.
    model = DualEncoder(image_encoder, nn.Linear(hidden, EMBED_DIM), initial_logit_scale=SCALE)
    model.log_logit_scale.requires_grad_(run.learn_scale and not ARMS[run.arm].fixed_scale)
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # not in stubs
    return model


def build_loss(run: Run, training: Training, data: EvidenceData) -> SimilarityCLIPLoss:
    """Return the loss of an arm."""
    arm = ARMS[run.arm]
    smoothing = 0.0
    if arm.smoothed:
        sharp = make_target("best8", data, training.reports, run.seed, run.noise)
        entropy = target_shape(sharp, training.first, own_share=run.align_weight)["entropy"]
        smoothing = smoothing_of(entropy, run.batch)
    if training.target is None:
        return SimilarityCLIPLoss(1.0, 0.0, label_smoothing=smoothing)
    return SimilarityCLIPLoss(run.align_weight, run.similarity_weight, clamp_eps=arm.clamp_eps)


def batches_of(run: Run, reports: list[Report]) -> Iterator[Rows]:
    """Yield batches for ever, half of their rows mirrored.

    They are the same for all arms of a seed that do not limit repetitions.
    """
    arm, volumes = ARMS[run.arm], len(reports) // 2
    labels = [distinct_label(report) for report in reports[:volumes]]
    is_normal = [label == NORMAL_LABEL for label in labels]
    sampler = LimitedBatchSampler(
        labels, is_normal, run.batch, arm.max_duplicates, arm.max_normal, run.seed
    )
    flip, one_voxel = LateralityFlip(seed=run.seed), torch.empty(1, 1, 1, 1, 1)
    while True:
        for rows in map(torch.tensor, sampler):
            _, mirrored = flip(one_voxel.expand(len(rows), 1, 1, 1, 1), rows, sampler.epoch)
            yield rows + volumes * mirrored
        sampler.set_epoch(sampler.epoch + 1)


def loss_of(
    model: DualEncoder, loss_fn: SimilarityCLIPLoss, training: Training, rows: Rows
) -> Tensor:
    """Return the loss of a batch."""
    output = model(training.volumes(rows), training.words[rows])
    loss: Tensor = loss_fn(*output, target=training.similarities(rows))
    return loss


@torch.no_grad()
def _features(model: DualEncoder, training: Training, rows: Rows) -> tuple[Tensor, Tensor]:
    was_training = model.training
    model.eval()
    with reduced_precision(training.words.device):
        images = model.encode_image(training.volumes(rows))
        texts = model.encode_text(training.words[rows])
    model.train(was_training)
    return images, texts


def mechanism(
    model: DualEncoder, loss_fn: SimilarityCLIPLoss, training: Training
) -> dict[str, float]:
    """Return what the loss does on the first batch, with the model in evaluation mode."""
    rows = training.first[0]
    images, texts = _features(model, training, rows)
    scale = model.logit_scale.item()
    return look_at(loss_fn, images, texts, scale, training.similarities(rows))
