"""A batch of studies: of each, the sequences that there are."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selip_core.encoders.study_input import SEQUENCES, Study, checked_sequences, checked_studies


class StudyBatch(NamedTuple):
    """Studies with any number of sequences each; volumes that are missing take no memory.

    Each of ``b`` studies has ``s`` places, as many as the study with the most sequences needs.
    PyTorch's pinning and accelerate move such a batch as they move a tensor.

    Attributes:
        volumes: The volumes that there are, those of one size in one tensor.
        places: Where each of them belongs, counted through the places of all studies.
        kinds: Kind of the sequence at each place: its index among the sequences that are told
            apart, or their number for any other.
        mask: True where there is a sequence.
        sequences: The names that ``kinds`` counts; those of the encoder, which refuses others.
    """

    volumes: tuple[Float[Tensor, "n c d h w"], ...]
    places: tuple[Int64[Tensor, "n"], ...]
    kinds: Int64[Tensor, "b s"]
    mask: Bool[Tensor, "b s"]
    sequences: tuple[str, ...]

    @classmethod
    def from_padded(
        cls,
        volumes: Float[Tensor, "b s c d h w"],
        kinds: Int64[Tensor, "b s"],
        mask: Bool[Tensor, "b s"],
        *,
        sequences: Sequence[str],
    ) -> Self:
        """Take the volumes that there are from a padded tensor; what stands elsewhere is ignored.

        Args:
            volumes: One at each place, there or not.
            kinds: Of each place, from 0 to the number of ``sequences``, which is for any other.
            mask: True where there is a sequence.
            sequences: The names that ``kinds`` counts.

        Raises:
            ValueError: If ``kinds`` or ``mask`` is of another type, if the three do not agree in
                their first two axes, or if ``sequences`` are not as :class:`StudyEncoder` needs
                them.

        Example:
            >>> mask = torch.tensor([[True, True], [True, False]])
            >>> kinds = torch.tensor([[0, 2], [1, 0]])
            >>> volumes = torch.zeros(2, 2, 1, 8, 32, 32)
            >>> batch = StudyBatch.from_padded(volumes, kinds, mask, sequences=("T1", "FLAIR"))
            >>> [tuple(volumes.shape) for volumes in batch.volumes]
            [(3, 1, 8, 32, 32)]
        """
        _require_type("kinds", kinds, torch.int64)
        _require_type("mask", mask, torch.bool)
        shapes = tuple(volumes.shape[:2]), tuple(kinds.shape), tuple(mask.shape)
        if len(set(shapes)) > 1:
            raise ValueError(
                "volumes (b, s, c, d, h, w), kinds (b, s) and mask (b, s) must agree in studies b "
                f"and places s, got {shapes[0]}, {shapes[1]} and {shapes[2]}"
            )
        places = mask.flatten().nonzero().squeeze(1)
        return cls((volumes[mask],), (places,), kinds, mask, checked_sequences(sequences))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the batch on another device."""

        def moved(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(tensor.to(device, non_blocking=non_blocking) for tensor in tensors)

        kinds, mask = moved([self.kinds, self.mask])
        return type(self)(
            moved(self.volumes), moved(self.places), kinds, mask, tuple(self.sequences)
        )

    def only(self, mask: Bool[Tensor, "b s"]) -> Self:
        """Return the batch without the sequences where ``mask`` is False."""
        kept = [mask.flatten()[places] for places in self.places]
        groups = [
            (volumes[keep], places[keep])
            for volumes, places, keep in zip(self.volumes, self.places, kept, strict=True)
        ]
        volumes, places = zip(*(group for group in groups if len(group[0])), strict=True)
        return self._replace(volumes=volumes, places=places, mask=self.mask & mask)


def collate_studies(studies: Sequence[Study], sequences: Sequence[str] = SEQUENCES) -> StudyBatch:
    """Return the batch of studies that a data loader hands over; its ``collate_fn``.

    Volumes may differ in size between and within studies. Those of one size go through the image
    encoder together, so the fewer sizes the faster.

    Args:
        studies: Of each, its volumes by the name of the sequence.
        sequences: The names that are told apart, as :class:`StudyEncoder` has them. Any other name
            is of the kind "other", so that a new sequence breaks nothing. Names are compared as
            they are: ``"flair"`` is not ``"FLAIR"``.

    Raises:
        ValueError: If ``studies`` is no list with a study, or if ``sequences`` are not as
            :class:`StudyEncoder` needs them.
        DataError: Of all studies without a sequence and all volumes that are no floating-point
            tensor of four axes, by where they stand.

    Example:
        >>> t1, flair = torch.zeros(1, 16, 32, 32), torch.zeros(1, 8, 32, 32)
        >>> batch = collate_studies([{"T1": t1, "FLAIR": flair}, {"T1": t1}, {"SWI": flair}])
        >>> batch.kinds
        tensor([[0, 2],
                [0, 5],
                [5, 5]])
        >>> batch.mask.sum(dim=1)
        tensor([2, 1, 1])
        >>> [tuple(volumes.shape) for volumes in batch.volumes]
        [(2, 1, 16, 32, 32), (2, 1, 8, 32, 32)]
    """
    sequences = checked_sequences(sequences)
    rows = checked_studies(studies, sequences)
    shape = len(rows), max(map(len, rows))
    kinds = torch.full(shape, len(sequences))
    mask = torch.zeros(shape, dtype=torch.bool)
    groups: dict[object, list[tuple[Tensor, int]]] = {}
    for row, items in enumerate(rows):
        for column, (name, volume) in enumerate(items):
            mask[row, column] = True
            if name in sequences:
                kinds[row, column] = sequences.index(name)
            alike = volume.shape, volume.dtype
            groups.setdefault(alike, []).append((volume, row * shape[1] + column))
    return StudyBatch(
        tuple(torch.stack([volume for volume, _ in group]) for group in groups.values()),
        tuple(torch.tensor([place for _, place in group]) for group in groups.values()),
        kinds,
        mask,
        sequences,
    )


def _require_type(name: str, value: Any, dtype: torch.dtype) -> None:
    # Whole numbers as a mask would pick volumes by number.
    if not isinstance(value, Tensor) or value.dtype != dtype:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must be a tensor of {dtype}, got {got}")
