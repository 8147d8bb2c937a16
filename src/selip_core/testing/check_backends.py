"""Every back end of the loss against float64, on the machine at hand."""

import platform
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import torch
from torch import Tensor

from selip_core._version import __version__
from selip_core.losses import explain_backend, similarity_clip_loss
from selip_core.losses.backends import BACKENDS, DENSE_ROWS
from selip_core.losses.precision import accumulation_dtype
from selip_core.losses.triton_sweeps import compiled_obstacle
from selip_core.testing.backend_report import BackendCheck, BackendReport
from selip_core.testing.features import converged_features, random_features, random_similarities
from selip_core.testing.oracle import oracle, textbook_loss
from selip_core.testing.tolerance import compare_errors
from selip_core.testing.value_and_gradients import ValueAndGradients, value_and_gradients

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SCALE = 1 / 0.07
# On a CPU these are just several tiles with a ragged rest. Low precision is widened there and would
# be float32 once more: few rows show that.
ROWS = {torch.float32: 1801, torch.float64: 1301, torch.bfloat16: 257, torch.float16: 257}
ROWS_ON_GPU = 1801
WIDTH = 67
CONVERGED_ROWS, CONVERGED_WIDTH, STEPS = 96, 48, 200


class _Batch(NamedTuple):
    images: Tensor
    texts: Tensor
    target: Tensor


def check_backends(seconds: float = 10.0) -> BackendReport:
    """Compute the loss with every usable back end, device and type, and compare with float64.

    Random features in batches whose tiles are ragged, and converged ones, by the rule of
    :func:`compare_errors`; in float64 random features only. A back end that raises is a finding,
    not an error.

    Args:
        seconds: After these no further check is begun; what is left is told as not checked. A
            kernel that is being compiled is waited for.

    Example:
        >>> report = check_backends(seconds=0)
        >>> {check.status for check in report.checks if check.backend == "chunked"}
        {'not checked'}
        >>> report.wrong
        ()
    """
    deadline = time.monotonic() + seconds
    checks: list[BackendCheck] = []
    choices: list[str] = []
    for device in _devices():
        for dtype in DTYPES:
            checks += _checks(device, dtype, deadline)
        choices += _choices(device)
    return BackendReport(_versions(), tuple(checks), tuple(choices))


def _checks(device: torch.device, dtype: torch.dtype, deadline: float) -> Iterator[BackendCheck]:
    usable = sorted(BACKENDS)
    if compiled_obstacle(device, dtype) is not None:
        usable.remove("triton")
    for kind in ("random",) if dtype == torch.float64 else ("random", "converged"):
        if time.monotonic() < deadline:
            batch = _batch(kind, device, dtype)
            exact = oracle(batch.images, batch.texts, SCALE, target=batch.target)
            dense = _computed(textbook_loss, batch)
            yield from (_check(name, kind, batch, dense, exact) for name in usable)
        else:
            for name in usable:
                yield BackendCheck(name, str(device), _name(dtype), kind, "not checked")


def _check(
    name: str, kind: str, batch: _Batch, dense: ValueAndGradients, exact: ValueAndGradients
) -> BackendCheck:
    place = (name, str(batch.images.device), _name(batch.images.dtype), kind)
    try:
        # The first call compiles.
        _computed(similarity_clip_loss, batch, backend=name)
        start = time.perf_counter()
        actual = _computed(similarity_clip_loss, batch, backend=name)
        seconds = time.perf_counter() - start
    except Exception as error:
        # Whatever a compiler or a driver raises is what was looked for.
        message = next(iter(str(error).splitlines()), "")
        return BackendCheck(*place, "failed", f"{type(error).__name__}: {message}")
    errors = tuple(compare_errors(actual, dense, exact, converged=kind == "converged"))
    failing = "; ".join(str(error) for error in errors if not error.passes)
    return BackendCheck(*place, "wrong" if failing else "ok", failing, errors, seconds)


def _computed(loss_fn: Callable[..., Tensor], batch: _Batch, **options: str) -> ValueAndGradients:
    images, texts, target = batch
    result = value_and_gradients(loss_fn, images, texts, SCALE, target=target, **options)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return result


def _batch(kind: str, device: torch.device, dtype: torch.dtype) -> _Batch:
    if kind == "converged":
        target, (images, texts) = _pairs(), _converged()
    else:
        rows = ROWS[dtype] if device.type == "cpu" else ROWS_ON_GPU
        target = random_similarities(rows)
        images, texts = random_features(rows, rows, WIDTH)
    target = target.to(device, accumulation_dtype(dtype))
    return _Batch(images.to(device, dtype), texts.to(device, dtype), target)


def _pairs() -> Tensor:
    """Return similarities of reports of which two each say the same."""
    labels = torch.arange(CONVERGED_ROWS) // 2
    return (labels[:, None] == labels).float()


@cache
def _converged() -> tuple[Tensor, Tensor]:
    return converged_features(_pairs(), CONVERGED_WIDTH, SCALE, steps=STEPS)


def _choices(device: torch.device) -> Iterator[str]:
    """Yield what ``"auto"`` takes for few rows and for many, types with the same reason as one."""
    for rows, many in ((DENSE_ROWS, "up to"), (DENSE_ROWS + 1, "from")):
        types: dict[str, list[str]] = {}
        for dtype in DTYPES:
            reason = explain_backend(torch.empty(rows, 1, dtype=dtype, device=device))
            types.setdefault(reason, []).append(_name(dtype))
        for reason, names in types.items():
            yield f"{device}, {many} {rows} rows of {', '.join(names)}: {reason}"


def _devices() -> list[torch.device]:
    """Return where there is to compute, what is faster first."""
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [*gpus, torch.device("cpu")]


def _versions() -> dict[str, str]:
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "is not installed"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "selip-core": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton,
        "ROCm" if torch.version.hip else "CUDA": _gpu_runtime(),
        "GPUs": "; ".join(names) or "none seen",
        "threads": str(torch.get_num_threads()),
    }


def _gpu_runtime() -> str:
    return torch.version.hip or torch.version.cuda or "is not what torch was built for"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
