"""Who may take the Triton back end, and what is said to who may not."""

import subprocess
import sys

import pytest
import torch

from selip_core.losses import SimilarityCLIPLoss, similarity_clip_loss, triton_sweeps
from selip_core.losses.backends import BACKENDS, select_backend

FEATURES = torch.eye(3)


@pytest.fixture
def without_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.mark.usefixtures("without_interpreter")
def test_refuses_a_cpu() -> None:
    pytest.importorskip("triton")
    message = "cannot be used: it needs a CUDA or ROCm device, .* TRITON_INTERPRET=1 .* cpu; "
    with pytest.raises(ValueError, match=message):
        similarity_clip_loss(FEATURES, FEATURES, 1.0, backend="triton")


def test_refuses_float64() -> None:
    with pytest.raises(ValueError, match=r"float32 and the features are float64; use backend='ch"):
        similarity_clip_loss(FEATURES.double(), FEATURES.double(), 1.0, backend="triton")


def test_refuses_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_sweeps, "INSTALLED", False)
    with pytest.raises(ValueError, match="triton is not installed; it comes with torch for CUDA"):
        similarity_clip_loss(FEATURES, FEATURES, 1.0, backend="triton")


@pytest.mark.parametrize(
    ("major", "minor", "usable"), [(7, 5, False), (8, 0, True), (8, 9, True), (10, 0, True)]
)
def test_needs_the_matrix_units_of_capability_8(
    major: int, minor: int, usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = type("Properties", (), {"major": major, "minor": minor})
    monkeypatch.setattr(triton_sweeps, "INSTALLED", True)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    device = torch.device("cuda")
    assert (triton_sweeps.compiled_obstacle(device, torch.float16) is None) is usable
    if not usable:
        obstacle = triton_sweeps.triton_obstacle(device, torch.float16)
        assert obstacle == "it needs compute capability 8.0 and the device has 7.5"


def test_refuses_to_clamp() -> None:
    message = "triton back end does not clamp, got clamp_eps; use backend='chunked' or 'auto'"
    with pytest.raises(ValueError, match=message):
        SimilarityCLIPLoss(backend="triton", clamp_eps=1e-3)
    with pytest.raises(ValueError, match=message):
        similarity_clip_loss(FEATURES, FEATURES, 1.0, backend="triton", clamp_eps=1e-3)


def test_auto_takes_it_for_large_batches_where_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_sweeps, "compiled_obstacle", lambda device, dtype: None)
    monkeypatch.setattr(triton_sweeps, "triton_obstacle", lambda device, dtype: None)

    def chosen(rows: int, across_processes: bool = False, clamped: bool = False) -> str:
        backend = select_backend(
            "auto", rows, FEATURES, across_processes=across_processes, clamped=clamped
        )
        return next(name for name in BACKENDS if BACKENDS[name] is backend)

    assert chosen(512) == "dense"
    assert chosen(513) == "triton"
    assert chosen(8, across_processes=True) == "triton"
    assert chosen(513, clamped=True) == "chunked"


def test_the_losses_import_without_it() -> None:
    command = "import sys, selip_core.losses; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)
