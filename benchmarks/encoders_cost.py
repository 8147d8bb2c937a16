"""What a step of an encoder will cost, told before it is run: operations and memory, on no data."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from selip_core.encoders import ImageEncoder, create_image_encoder
from selip_core.encoders.spec import Size

GIB = 2**30
REFERENCE: Size = (96, 96, 96)
# Low for one core of a server: an estimate that is too long skips a case, one that is too short is
# ended by the clock.
OPERATIONS_PER_SECOND = 40e9
KEPT_BYTES_PER_SECOND = 1.5e9
BACKWARD = 3  # a step is a forward pass and a backward pass of twice its operations


@dataclass(frozen=True)
class Cost:
    """Of one forward pass at a size.

    Attributes:
        operations: Floating-point operations.
        kept_bytes: What is kept for the backward pass.
    """

    operations: float
    kept_bytes: float

    @property
    def seconds(self) -> float:
        """Seconds that a step takes, roughly, on the machine of the constants above."""
        by_operations = BACKWARD * self.operations / OPERATIONS_PER_SECOND
        return by_operations + BACKWARD * self.kept_bytes / KEPT_BYTES_PER_SECOND

    def at(self, size: Size) -> "Cost":
        """Return the cost at another size: it grows with the voxels."""
        d, h, w = (mine / theirs for mine, theirs in zip(size, REFERENCE, strict=True))
        return Cost(self.operations * d * h * w, self.kept_bytes * d * h * w)


def reference_cost(name: str) -> Cost:
    """Return the cost of an encoder at the reference size; nothing is computed or allocated."""
    kept = [0]

    def keep(tensor: Tensor) -> Tensor:
        kept[0] += tensor.nbytes
        return tensor

    with torch.device("meta"):
        encoder: ImageEncoder = create_image_encoder(name)
        x = torch.empty(1, 1, *REFERENCE)
    saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with saved, FlopCounterMode(display=False) as counter:
        encoder(x)
    return Cost(counter.get_total_flops(), kept[0])


def refusal(name: str, size: Size) -> str | None:
    """Return why an encoder does not take volumes of this size, or None."""
    with torch.device("meta"):
        encoder = create_image_encoder(name)
        try:
            encoder.spec.check_input(torch.empty(1, 1, *size))
        except ValueError as error:
            return str(error).rpartition("; ")[2]
    return None
