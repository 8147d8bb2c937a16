"""Left-right flips that keep image and report in agreement."""

import random
import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selip_core.findings import Report

_FLIPPED = "~flipped"
_TRAILING_MARKS = re.compile(rf"(?:{_FLIPPED})+\Z")
_OTHER_SIDE = {
    **{"left": "right", "Left": "Right", "LEFT": "RIGHT", "左": "右"},
    **{"right": "left", "Right": "Left", "RIGHT": "LEFT", "右": "左"},
}
_ABBREVIATIONS = {"L": "R", "l": "r", "Lt": "Rt", "lt": "rt", "LT": "RT"}
_ABBREVIATIONS |= {right: left for left, right in _ABBREVIATIONS.items()}
# Letters are spelt out since \b takes "left" in "left额叶" and "left_frontal" for part of a word.
_SIDE = re.compile(
    r"(?<![A-Za-z])(?:left|Left|LEFT|right|Right|RIGHT)"
    r"(?=(?i:wards?|most|hand(?:ed)?|sided?)?(?![A-Za-z]))"
    r"|[左右]+"
)


def flip_laterality(report: Report) -> Report:
    """Return the report of the mirrored image: left and right swapped, and the id marked.

    Every string of the report and its findings is swapped, at any depth, whatever its field:
    English words in lower case, capitalised or upper case ("left", "Left-sided", "leftward", not
    "cleft" or "bright"), and 左 and 右. 左右 stays, being both sides or "about". A field named
    ``laterality`` may also be "L", "R", "Lt" or "Rt". Flipping twice gives the report back.

    Known limits: "right" in the sense of correct is swapped, as is a patient's handedness and a
    drug with 左 or 右 in its name; abbreviations inside a text ("L frontal") stay.

    Example:
        >>> flip_laterality(Report(id="7", text="Left frontal lesion, bright", text_zh="左额叶"))
        Report(id='7~flipped', findings=(), text='Right frontal lesion, bright', normal=None,
               text_zh='右额叶')
    """
    values = {
        key: _swap(value, key) for key, value in report.model_dump(exclude_unset=True).items()
    }
    return type(report).model_validate({**values, "id": flipped_id(report.id)})


def flipped_id(report_id: str) -> str:
    """Return the id of the mirrored report; of a mirrored report, the original's.

    Example:
        >>> flipped_id("7"), flipped_id(flipped_id("7"))
        ('7~flipped', '7')
    """
    # An id may end in marks of its own: an odd number of them says mirrored, an even one not.
    marks = _TRAILING_MARKS.search(report_id, 1)
    if marks and len(marks.group()) // len(_FLIPPED) % 2:
        return report_id.removesuffix(_FLIPPED)
    return report_id + _FLIPPED


def flip_image(image: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
    """Return the image mirrored along its last axis, which runs left to right.

    Example:
        >>> flip_image(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[3., 2., 1.]])
    """
    return torch.flip(image, dims=(-1,))


class LateralityFlip:
    """Mirrors some images of a batch, and says which, so that their reports are swapped too.

    Whether an image is mirrored depends on seed, epoch and its index alone: not on the order of
    batches, the worker, the process, or where training was resumed.

    Args:
        probability: Of an image to be mirrored in an epoch, in [0, 1].
        seed: Another seed, other choices.

    Raises:
        ValueError: If the probability is outside [0, 1].

    Example:
        >>> flip = LateralityFlip(probability=1.0)
        >>> images, flipped = flip(torch.arange(4.0).reshape(1, 1, 1, 1, 4), [0], epoch=0)
        >>> images.flatten().tolist(), flipped.tolist()
        ([3.0, 2.0, 1.0, 0.0], [True])
    """

    def __init__(self, probability: float = 0.5, seed: int = 0) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        self.probability = probability
        self.seed = seed

    def __call__(
        self,
        images: Float[Tensor, "batch channels depth height width"],
        indices: Sequence[int] | Tensor,
        epoch: int,
    ) -> tuple[Float[Tensor, "batch channels depth height width"], Bool[Tensor, " batch"]]:
        """Return the images, some of them mirrored, and which.

        The report of a mirrored image is ``flip_laterality(report)``; its id is
        ``flipped_id(report.id)``.
        """
        flipped = torch.tensor([self._is_flipped(int(index), epoch) for index in indices])
        flipped = flipped.to(device=images.device, dtype=torch.bool)
        return torch.where(flipped[:, None, None, None, None], flip_image(images), images), flipped

    def _is_flipped(self, index: int, epoch: int) -> bool:
        return random.Random(f"{self.seed}/{epoch}/{index}").random() < self.probability


def _swap(value: Any, field: str) -> Any:
    match value:
        case str():
            if field == "laterality" and value in _ABBREVIATIONS:
                return _ABBREVIATIONS[value]
            return _SIDE.sub(_other_side, value)
        case dict():
            return {key: _swap(item, key) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_swap(item, field) for item in value)
    return value


def _other_side(match: re.Match[str]) -> str:
    words = match.group()
    if words.isascii():
        return _OTHER_SIDE[words]
    if len(set(words)) == 2:  # 左右: both sides, or "about"
        return words
    return "".join(_OTHER_SIDE[character] for character in words)
