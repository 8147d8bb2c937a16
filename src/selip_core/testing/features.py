"""Batches to compute on: random ones, and such as training leaves behind."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from selip_core.losses import similarity_clip_loss

LEARNING_RATE = 0.03


def random_features(
    images: int, texts: int, width: int, *, seed: int = 0
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Return image and text features that are spread evenly over the sphere.

    The same for the same arguments, float64, on the CPU.

    Example:
        >>> images, texts = random_features(3, 5, 4)
        >>> images.shape, texts.shape
        (torch.Size([3, 4]), torch.Size([5, 4]))
        >>> bool((images.norm(dim=1) - 1).abs().max() < 1e-15)
        True
    """
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    first = torch.randn(images, width, **options)  # type: ignore[call-overload]
    second = torch.randn(texts, width, **options)  # type: ignore[call-overload]
    return normalize(first, dim=1), normalize(second, dim=1)


def converged_features(
    target: Float[Tensor, "n n"],
    width: int,
    logit_scale: float = 1 / 0.07,
    *,
    steps: int = 300,
    seed: int = 0,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """Return features after training with this target, where attraction and repulsion cancel.

    What a low precision rounds before the two meet is then all that is left: errors that random
    features do not show. Float32, on the CPU, the same for the same arguments.

    Args:
        target: Similarities to train with.
        width: Of the features.
        logit_scale: The multiplier of the products.
        steps: Of Adam; features are free parameters, and few hundred do for few hundred rows.
        seed: Of the features at the start.

    Example:
        >>> target = torch.block_diag(*[torch.ones(2, 2)] * 4)
        >>> images, texts = converged_features(target, width=8, steps=100)
        >>> cosines = images @ texts.T
        >>> bool(cosines[target == 1].min() > cosines[target == 0].max())
        True
    """
    rows = len(target)
    drawn = random_features(rows, rows, width, seed=seed)
    leaves = [features.float().requires_grad_() for features in drawn]
    optimizer = torch.optim.Adam(leaves, lr=LEARNING_RATE)
    for _ in range(steps):
        images, texts = (normalize(leaf, dim=1) for leaf in leaves)
        loss = similarity_clip_loss(images, texts, logit_scale, target=target)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    images, texts = (normalize(leaf.detach(), dim=1) for leaf in leaves)
    return images, texts


def random_similarities(
    rows: int, *, symmetric: bool = False, seed: int = 1
) -> Float[Tensor, "n n"]:
    """Return a table of similarities in [0, 1] with ones on the diagonal, float64, on the CPU.

    Not symmetric unless asked: then code that takes rows for columns shows.

    Example:
        >>> table = random_similarities(3)
        >>> table.diagonal().tolist(), bool((table == table.T).all())
        ([1.0, 1.0, 1.0], False)
    """
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(rows, rows, generator=generator, dtype=torch.float64) ** 2
    return ((table + table.T) / 2 if symmetric else table).fill_diagonal_(1)
