"""Strings that processes share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, final, overload

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


@final
@dataclass(frozen=True, eq=False)
class PackedStrings(Sequence[str]):
    """A list of strings in two tensors, which can be mapped from a file or lie in shared memory.

    Attributes:
        text: All strings in UTF-8, one after the other.
        offsets: Where each begins, and where the last ends.

    Raises:
        ValueError: If the offsets do not fit the text.

    Example:
        >>> packed = PackedStrings.of(["pons", "", "额叶"])
        >>> packed[2], packed[:2], len(packed), packed.text.shape
        ('额叶', ['pons', ''], 3, torch.Size([10]))
    """

    text: UInt8[Tensor, " bytes"]
    offsets: Int[Tensor, " strings_and_one"]

    def __post_init__(self) -> None:
        check_offsets(self.offsets, self.text.shape[0], "strings")

    @classmethod
    def of(cls, strings: Iterable[str]) -> Self:
        """Pack strings; lone surrogates, which JSON can hold, are kept."""
        encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
        text = bytearray(b"".join(encoded))
        return cls(
            torch.frombuffer(text, dtype=torch.uint8) if text else torch.empty(0).to(torch.uint8),
            torch.tensor([0, *map(len, encoded)]).cumsum(0),
        )

    def __len__(self) -> int:
        return self.offsets.shape[0] - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[single] for single in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"there are {len(self)} strings, got place {place}")
        start, stop = self.offsets[place % len(self) :][:2].tolist()
        return self.text[start:stop].numpy().tobytes().decode("utf-8", "surrogatepass")


def check_offsets(offsets: Tensor, end: int, name: str) -> None:
    """Refuse offsets that do not begin at 0, fall, or do not end at ``end``.

    Raises:
        ValueError: If they do.
    """
    whole = offsets.dtype == torch.int64 and offsets.ndim == 1 and offsets.shape[0] > 0
    if not (
        whole
        and int(offsets[0]) == 0
        and int(offsets[-1]) == end
        and bool((offsets.diff() >= 0).all())
    ):
        raise ValueError(f"the offsets of {name} must be int64 and rise from 0 to {end}")
