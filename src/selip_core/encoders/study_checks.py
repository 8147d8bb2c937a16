"""Whether a batch is one for a study encoder; all that is wrong with it is told at once."""

from collections.abc import Iterator

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.study_batch import StudyBatch
from selip_core.encoders.study_input import OTHER, where_in_batch
from selip_core.errors import DataError, Problem


def check_batch(batch: StudyBatch, image_encoder: ImageEncoder) -> None:
    """Refuse a batch with studies, kinds or volumes that an encoder cannot take.

    Args:
        batch: Of the sequences of the study encoder.
        image_encoder: What takes the volumes of one size together.

    Raises:
        DataError: Of all studies and volumes that are wrong, by where they stand.
    """
    problems = [*_wrong_places(batch)] or [*_wrong_volumes(batch, image_encoder)]
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


def _wrong_volumes(batch: StudyBatch, image_encoder: ImageEncoder) -> Iterator[Problem]:
    kinds = (*batch.sequences, OTHER)
    for volumes, places in zip(batch.volumes, batch.places, strict=True):
        try:
            image_encoder.check_input(volumes)
        except ValueError as error:
            for position in places.tolist():
                study, place = divmod(position, batch.mask.shape[1])
                where = where_in_batch(study, place, kinds[int(batch.kinds[study, place])])
                yield Problem(where, str(error))
