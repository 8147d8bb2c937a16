"""What is said of the choice is what is chosen."""

import pytest
import torch
import torch.distributed as dist

from selip_core.losses import explain_backend, triton_sweeps
from selip_core.losses.backends import BACKENDS, select_backend

FEW, MANY = torch.ones(512, 2), torch.ones(513, 2)
needs_triton = pytest.mark.skipif(not triton_sweeps.INSTALLED, reason="needs the package triton")


@pytest.fixture
def everything_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_sweeps, "compiled_obstacle", lambda device, dtype: None)
    monkeypatch.setattr(triton_sweeps, "triton_obstacle", lambda device, dtype: None)


@pytest.mark.parametrize("usable", [False, True])
@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("features", [FEW, MANY])
def test_names_the_back_end_that_is_selected(
    features: torch.Tensor,
    across: bool,
    clamp_eps: float | None,
    usable: bool,
    request: pytest.FixtureRequest,
) -> None:
    if usable:
        request.getfixturevalue("everything_usable")
    group = dist.group.WORLD or object() if across else None
    said = explain_backend(features, clamp_eps=clamp_eps, group=group)
    chosen = select_backend(
        "auto",
        len(features),
        features,
        across_processes=across,
        clamped=clamp_eps is not None,
    )
    assert chosen is BACKENDS[said.partition(",")[0]]


def test_small_batches() -> None:
    assert explain_backend(FEW).startswith("dense, since up to 512 rows a table of logits")


def test_float64_has_no_kernels() -> None:
    reason = "its sums are float32 and the features are float64"
    assert explain_backend(MANY.double()) == f"chunked, since triton cannot be used: {reason}"


@needs_triton
def test_a_cpu_compiles_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "it needs a CUDA or ROCm device" in explain_backend(MANY)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    said = explain_backend(MANY)
    assert said.endswith("triton cannot be used: on cpu it is interpreted, which is for tests")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_sweeps, "INSTALLED", False)
    assert "the package triton is not installed" in explain_backend(MANY)


@pytest.mark.usefixtures("everything_usable")
def test_large_batches() -> None:
    said = explain_backend(MANY)
    assert said == "triton, since its kernels can be compiled for these features"
    said = explain_backend(MANY, clamp_eps=1e-3)
    assert said.startswith("chunked, since it alone reads a target in tiles")


def test_a_name_is_obeyed_or_refused_as_the_loss_does() -> None:
    assert explain_backend(MANY, backend="dense") == "dense, since it was asked for by name"
    with pytest.raises(ValueError, match="triton back end does not clamp"):
        explain_backend(MANY, backend="triton", clamp_eps=1e-3)
    with pytest.raises(ValueError, match="backend must be one of"):
        explain_backend(MANY, backend="fast")
