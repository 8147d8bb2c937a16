"""The two sweeps as Triton kernels, and what they need; Triton is imported by the first sweep."""

import os
from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

# Looked up once: a compiler that traces the choice of a back end meets a constant.
INSTALLED = find_spec("triton") is not None
LOWEST_CAPABILITY = (8, 0)


def triton_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why features of this kind cannot take the Triton back end; None if they can.

    On a CPU the kernels run in Triton's interpreter only, to be tested: it must be asked for by
    ``TRITON_INTERPRET=1`` in the environment before Triton is imported.

    Example:
        >>> triton_obstacle(torch.device("cuda"), torch.float64)
        'its sums are float32 and the features are float64'
    """
    if dtype == torch.float64:
        return "its sums are float32 and the features are float64"
    if not INSTALLED:
        return "the package triton is not installed; it comes with torch for CUDA and ROCm"
    if device.type == "cuda":
        return None if torch.version.hip else _capability_obstacle(device)
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return None
    return (
        "it needs a CUDA or ROCm device, or for tests TRITON_INTERPRET=1 and a CPU, and the "
        f"features are on {device}"
    )


def compiled_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why no Triton kernels are compiled for features of this kind; None if they are.

    Example:
        >>> compiled_obstacle(torch.device("cpu"), torch.float64)
        'its sums are float32 and the features are float64'
    """
    obstacle = triton_obstacle(device, dtype)
    if obstacle is None and device.type != "cuda":
        return f"on {device} it is interpreted, which is for tests"
    return obstacle


def check_usable(device: torch.device, dtype: torch.dtype) -> None:
    """Raise a ValueError that tells the obstacle, if there is one."""
    obstacle = triton_obstacle(device, dtype)
    if obstacle is not None:
        raise ValueError(f"the triton back end cannot be used: {obstacle}; use backend='chunked'")


def logsumexps(
    images: Float[Tensor, "n d"], texts: Float[Tensor, "m d"], logit_scale: Float[Tensor, ""]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Return the log-sum-exps of every row and column; ``triton_forward`` says how."""
    from selip_core.losses import triton_forward

    with torch.cuda.device_of(images):  # type: ignore[no-untyped-call]
        return triton_forward.logsumexps(images, texts, logit_scale)


def gradient_products(
    images: Float[Tensor, "n d"],
    texts: Float[Tensor, "m d"],
    logit_scale: Float[Tensor, ""],
    rows: Float[Tensor, " n"],
    columns: Float[Tensor, " m"],
    row_weights: Float[Tensor, " n"],
    column_weights: Float[Tensor, " m"],
    own_weight: float,
    first_own: int,
    of_images: bool = True,
    of_texts: bool = True,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Return ``E @ texts`` and ``E.T @ images``; ``triton_backward`` says how."""
    from selip_core.losses import triton_backward

    with torch.cuda.device_of(images):  # type: ignore[no-untyped-call]
        return triton_backward.gradient_products(
            images,
            texts,
            logit_scale,
            rows,
            columns,
            row_weights,
            column_weights,
            own_weight,
            first_own,
            of_images,
            of_texts,
        )


def _capability_obstacle(device: torch.device) -> str | None:
    properties = torch.cuda.get_device_properties(device)
    capability = properties.major, properties.minor
    if capability >= LOWEST_CAPABILITY:
        return None
    return f"it needs compute capability 8.0 and the device has {capability[0]}.{capability[1]}"
