"""The losses that are compared, and one step of one of them."""

import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import cross_entropy, normalize

from selip_core.losses import similarity_clip_loss
from selip_core.similarity import Identity

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

WIDTH = 512
SCALE = 1 / 0.07
FORMULA = "open_clip's formula"
CLAMPED = "chunked, clamped"
LINEAR = "linear_cross_entropy"
COMPILED = "one table, compiled"
CLAMP_EPS = 1e-3


def open_clip_formula(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return ``ClipLoss`` of open_clip in one process, as its source has it: two tables."""
    own = torch.arange(len(images), device=images.device)
    per_image, per_text = scale * images @ texts.T, scale * texts @ images.T
    return (cross_entropy(per_image, own) + cross_entropy(per_text, own)) / 2


def one_table(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's loss with one table of logits, transposed for the other direction."""
    own = torch.arange(len(images), device=images.device)
    logits = scale * images @ texts.T
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def clamped(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return the paper's loss, clamped, of reports that come in pairs that say the same."""
    labels = torch.arange(len(images), device=images.device) // 2
    target = Identity(labels, labels)
    return similarity_clip_loss(
        images, texts, scale, target=target, clamp_eps=CLAMP_EPS, backend="chunked"
    )


def linear_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's loss by torch's cross-entropy in chunks, once for each direction."""
    options = torch.nn.LinearCrossEntropyOptions()
    own = torch.arange(len(images), device=images.device)
    by_image = functional.linear_cross_entropy(scale * images, texts, own, options=options)
    by_text = functional.linear_cross_entropy(scale * texts, images, own, options=options)
    return (by_image + by_text) / 2


def losses() -> dict[str, Loss]:
    """Return what runs anywhere, by name; open_clip's own where it can be imported."""
    found: dict[str, Loss] = {
        "chunked": partial(similarity_clip_loss, backend="chunked"),
        "dense": partial(similarity_clip_loss, backend="dense"),
        FORMULA: open_clip_formula,
        CLAMPED: clamped,
    }
    if hasattr(functional, LINEAR):  # from torch 2.13
        found[LINEAR] = linear_loss
    if shutil.which("g++") is not None:  # what torch.compile needs on a CPU
        found[COMPILED] = torch.compile(one_table, dynamic=True)
    if find_spec("open_clip") is not None:
        from open_clip import ClipLoss  # type: ignore[import-not-found]

        found["open_clip"] = ClipLoss()
    return found


def batch(
    rows: int,
    width: int = WIDTH,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Return random images and texts of unit norm and a scale, leaves that take gradients."""
    generator = torch.Generator(device).manual_seed(0)
    images, texts = (
        normalize(torch.randn(rows, width, generator=generator, device=device), dim=1).to(dtype)
        for _ in range(2)
    )
    scale = torch.tensor(SCALE, device=device)
    return images.requires_grad_(), texts.requires_grad_(), scale.requires_grad_()


def step(loss: Loss, leaves: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Return the loss and its gradients: one forward and one backward."""
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def wait_for(device: str) -> None:
    """Wait until what was started on the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
