"""The parts of ``encoders.py`` that compare two ways of one step, in pairs: ratios of seconds."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import relu

from encoders_case import step
from selip_core.encoders import ImageEncoder, create_image_encoder
from selip_core.encoders.spec import Size
from similarity_fit import timed

Step = Callable[[Tensor], Tensor]
Bare = Callable[[Any, Tensor], Tensor]
"""From a network of MONAI or nnU-Net and a volume to what is projected."""

# Small, so that what a wrapper adds is a larger share than it will be.
SIZE: Size = (32, 48, 48)
QUICK_SIZE: Size = (32, 48, 48)
SECONDS, QUICK_SECONDS = 20.0, 1.0
FEWEST_PAIRS, MOST_PAIRS = 7, 41
QUICK_ENCODERS = 1
CONVOLUTIONAL = (
    "resnet10",
    "resnet50",
    "resenc_unet",
    "segresnet",
    "densenet121",
    "seresnet50",
    "efficientnet_b0",
    "mednext_small",
)


def mean(maps: Tensor) -> Tensor:
    """Return the global average of a map."""
    return maps.mean(dim=(2, 3, 4))


def vit(network: Any, x: Tensor) -> Tensor:
    """Return the mean token, by MONAI's own forward pass without its class token."""
    tokens = network.patch_embedding(x)
    for block in network.blocks:
        tokens = block(tokens)
    return network.norm(tokens).mean(dim=1)  # type: ignore[no-any-return]


BARE: dict[str, Bare] = {
    "resnet10": lambda network, x: network(x),
    "densenet121": lambda network, x: mean(relu(network.features(x))),
    "segresnet": lambda network, x: mean(network.encode(x)[0]),
    "resenc_unet": lambda network, x: mean(network(x)),
    "vit_small": vit,
    "swin_tiny": lambda network, x: mean(network(x, normalize=True)[-1]),
}


def measure_overhead(quick: bool) -> list[dict[str, Any]]:
    """Return the ratio of our step to that of the bare network, for one encoder a family."""
    size = QUICK_SIZE if quick else SIZE
    rows: list[dict[str, Any]] = []
    for name, bare in list(BARE.items())[: QUICK_ENCODERS if quick else None]:
        try:
            encoder = create_image_encoder(name, embed_dim=128, **options_at(name, size))
        except ImportError as error:
            rows.append({"encoder": name, "skipped": f"not installed: {error.name}"})
            continue
        x = torch.randn(1, 1, *size)
        require_equal(encoder, partial(embedded, encoder, bare), x)
        calls: dict[str, Step] = {"ours": encoder, "bare": partial(embedded, encoder, bare)}
        rows.append({"encoder": name, "size": size, **compared(calls, x, quick)})
        print(rows[-1], flush=True)
    return rows


def options_at(name: str, size: Size) -> dict[str, Any]:
    """Return what an encoder needs so that its network takes this size by itself."""
    return {"native_size": size} if name.startswith("vit") else {}


def embedded(encoder: Any, bare: Bare, x: Tensor) -> Tensor:
    """Return the embedding by the network alone and the linear layer of our pooling."""
    return encoder.pooling.projection(bare(encoder.network, x))  # type: ignore[no-any-return]


def require_equal(ours: ImageEncoder, bare: Step, x: Tensor) -> None:
    """Compare the sides, so that equal things are timed."""
    ours.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), bare(x), rtol=1e-3, atol=1e-4)
    ours.train()


def measure_layout(quick: bool) -> list[dict[str, Any]]:
    """Return the ratio of a step in channels-last to one in the plain layout."""
    rows: list[dict[str, Any]] = []
    for name in CONVOLUTIONAL[: QUICK_ENCODERS if quick else None]:
        try:
            plain = create_image_encoder(name, embed_dim=128)
        except ImportError as error:
            rows.append({"encoder": name, "skipped": f"not installed: {error.name}"})
            continue
        size = QUICK_SIZE if quick else SIZE
        x = torch.randn(1, 1, *size)
        last = deepcopy(plain).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        calls: dict[str, Step] = {"channels_last": last, "plain": plain}
        rows.append({"encoder": name, "size": size, **compared(calls, x, quick)})
        print(rows[-1], flush=True)
    return rows


def compared(calls: Mapping[str, Step], x: Tensor, quick: bool) -> dict[str, Any]:
    """Return the median of ratios of the first call's step to the second's, in turn, as pairs.

    Whichever goes first changes from pair to pair. The interval of the median is that of order
    statistics, of at least 95 %.
    """
    steps = {name: partial(step, call, x) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for call in steps.values():
        call()  # warm
    first, second = steps
    begun = time.perf_counter()
    limit = QUICK_SECONDS if quick else SECONDS
    while len(seconds[second]) < MOST_PAIRS and (
        len(seconds[second]) < FEWEST_PAIRS or time.perf_counter() - begun < limit
    ):
        order = (first, second) if len(seconds[first]) % 2 else (second, first)
        for name in order:
            seconds[name].append(timed(steps[name])[0])
    ratios = sorted(a / b for a, b in zip(seconds[first], seconds[second], strict=True))
    outside = order_statistics(len(ratios))
    return {
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "ratio": statistics.median(ratios),
        "low": ratios[outside],
        "high": ratios[-1 - outside],
        "pairs": len(ratios),
    }


def order_statistics(count: int) -> int:
    """Return how many values may be left out on each side of a 95 % interval of the median."""
    outside, tail = 0, 1 / 2**count
    while 2 * (tail + math.comb(count, outside + 1) / 2**count) <= 0.05:
        outside += 1
        tail += math.comb(count, outside) / 2**count
    return outside
