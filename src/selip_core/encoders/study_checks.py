"""Whether a batch is one for a study encoder; all that is wrong with it is told at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from selip_core.encoders.spec import ImageEncoderSpec
from selip_core.encoders.study_batch import StudyBatch
from selip_core.encoders.study_input import OTHER, where_in_batch
from selip_core.errors import DataError, Problem


def check_batch(batch: StudyBatch, spec: ImageEncoderSpec, dtype: torch.dtype) -> None:
    """Refuse a batch with studies, kinds or volumes that an encoder cannot take.

    Args:
        batch: Of the encoder's sequences.
        spec: What the image encoder takes.
        dtype: Of the encoder's weights.

    Raises:
        DataError: Of all studies and volumes that are wrong, by where they stand.
    """
    problems = [*_wrong_places(batch)] or [*_wrong_volumes(batch, spec, dtype)]
    if problems:
        raise DataError(
            "the study encoder cannot take this batch; studies and places count from 0", problems
        )


def _wrong_places(batch: StudyBatch) -> Iterator[Problem]:
    for study in (~batch.mask.any(dim=1)).nonzero().flatten().tolist():
        yield Problem(f"study {study}", "expected at least one sequence, got none")
    other = len(batch.sequences)
    for study, place in ((batch.kinds < 0) | (batch.kinds > other)).nonzero().tolist():
        yield Problem(
            f"study {study}, place {place}",
            f"expected a kind from 0 to {other}, the last for any sequence not in "
            f"{tuple(batch.sequences)}, got {batch.kinds[study, place].item()}",
        )


def _wrong_volumes(
    batch: StudyBatch, spec: ImageEncoderSpec, dtype: torch.dtype
) -> Iterator[Problem]:
    names = (*batch.sequences, OTHER)
    for volumes, places in zip(batch.volumes, batch.places, strict=True):
        wrong = _wrong(volumes, spec, dtype)
        for position in places.tolist() if wrong else ():
            study, place = divmod(position, batch.mask.shape[1])
            kind = names[int(batch.kinds[study, place])]
            yield Problem(where_in_batch(study, place, kind), wrong)


def _wrong(volumes: Tensor, spec: ImageEncoderSpec, dtype: torch.dtype) -> str:
    # Half precision may come from autocast or FSDP, which cast; float64 nothing casts.
    if volumes.dtype == torch.float64 != dtype:
        return f"expected {dtype}, as the encoder's weights, got {volumes.dtype}: use .float()"
    try:
        spec.check_input(volumes[:1])
    except ValueError as error:
        return str(error)
    return ""
