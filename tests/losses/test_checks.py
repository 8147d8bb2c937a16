"""Bad input: each error says what was needed and what came."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from selip_core.losses import (
    SimilarityCLIPLoss,
    agreement,
    bidirectional_logsumexp,
    similarity_clip_loss,
)
from selip_core.losses.checks import check_clamp
from selip_core.losses.ranks import Ranks
from selip_core.similarity.operators import Dense

EYE = torch.eye(3)


def loss(images: Any = EYE, texts: Any = EYE, scale: Any = 1.0, **options: Any) -> Tensor:
    return similarity_clip_loss(images, texts, scale, **options)


@pytest.mark.parametrize(
    ("images", "texts", "message"),
    [
        (torch.ones(3, 4), torch.ones(2, 4), r"both be \(n, d\).*got \(3, 4\) and \(2, 4\)"),
        (torch.ones(3, 4), torch.ones(3, 5), r"both be \(n, d\).*got \(3, 4\) and \(3, 5\)"),
        (torch.ones(3), torch.ones(3), r"both be \(n, d\).*got \(3,\) and \(3,\)"),
        (EYE, EYE.double(), r"same floating type, got torch.float32 and torch.float64"),
        (EYE.int(), EYE.int(), r"same floating type, got torch.int32 and torch.int32"),
        (EYE, EYE.to("meta"), r"same device, got cpu and meta"),
        (EYE, EYE.to_sparse(), r"text_features must be a dense tensor, got torch.sparse_coo"),
        (torch.ones(0, 4), torch.ones(0, 4), r"at least one pair, got 0 rows"),
    ],
)
def test_features(images: Tensor, texts: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(images, texts)


@pytest.mark.parametrize("scale", [torch.ones(2), torch.ones((), dtype=torch.int64)])
def test_scale(scale: Tensor) -> None:
    with pytest.raises(ValueError, match="one floating number, the multiplier itself, got shape"):
        loss(scale=scale)


@pytest.mark.parametrize("number", [None, "2"])
def test_no_number(number: Any) -> None:
    with pytest.raises(ValueError, match=r"logit_scale must be one floating number, .*, got "):
        loss(scale=number)


@pytest.mark.parametrize("bias", [torch.ones(2), torch.ones((), dtype=torch.int64)])
def test_bias(bias: Tensor) -> None:
    with pytest.raises(ValueError, match="logit_bias must be one floating number, got shape"):
        loss(logit_bias=bias)


@pytest.mark.parametrize("name", ["image_features", "text_features", "logit_scale", "logit_bias"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_not_finite(name: str, value: float) -> None:
    one = torch.tensor(1.0)
    tensors = {
        "image_features": EYE,
        "text_features": EYE,
        "logit_scale": one,
        "logit_bias": one,
    }
    tensors[name] = torch.full_like(tensors[name], value)
    with pytest.raises(ValueError, match=f"{name} must be finite, got NaN or infinity in"):
        similarity_clip_loss(**tensors, check_finite=True)
    with pytest.raises(ValueError, match=name):
        SimilarityCLIPLoss(check_finite=True)(**tensors)
    if name == "logit_bias":
        with pytest.raises(ValueError, match="logit_bias must be finite, got NaN or infinity"):
            similarity_clip_loss(**tensors)
    else:
        assert not similarity_clip_loss(**tensors).isfinite()


@pytest.mark.parametrize("bias", [torch.tensor(torch.inf), -torch.inf])
def test_bias_of_the_primitive_is_finite(bias: Any) -> None:
    with pytest.raises(ValueError, match="logit_bias must be finite"):
        bidirectional_logsumexp(EYE, EYE, 1.0, logit_bias=bias)


@pytest.mark.parametrize("group", [-100, "gloo", [0, 1]], ids=["not a member", "name", "ranks"])
def test_group_of_a_wrong_type(group: Any) -> None:
    with pytest.raises(ValueError, match=r"group must be None .*, got .*; use .*group.WORLD"):
        loss(group=group)


@pytest.mark.parametrize(
    ("config", "accelerator", "device"),
    [
        ("cpu:gloo,cuda:gloo", None, "cpu"),
        ("cpu:gloo,cuda:nccl", "cuda", "cpu"),
        ("cuda:nccl", "cuda", "cuda:1"),
        ("xpu:xccl", "xpu", "xpu:1"),
    ],
)
def test_where_a_group_sends_from(
    config: str, accelerator: str | None, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = None if accelerator is None else torch.device(accelerator)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: found)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 1)
    monkeypatch.setattr(agreement.dist, "get_backend_config", lambda group: config)
    group: Any = object()
    assert agreement._device_of(group) == torch.device(device)


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        ([10.0, -1.0], True),
        ([10.000001, -1.0], True),
        ([10.1, -1.0], False),
        ([10.0, -1.1], False),
        ([torch.nan, -1.0], False),
    ],
)
def test_scalars_are_compared_where_they_are(
    other: list[float], equal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU whose group sends from the CPU."""
    replaced = torch.tensor(other, dtype=torch.float64).nan_to_num(torch.finfo(torch.float64).max)
    monkeypatch.setattr(
        Ranks, "maximum", lambda self, own: own.maximum(torch.stack([replaced, -replaced]))
    )
    scalars, ranks = torch.tensor([10.0, -1.0], dtype=torch.float64), Ranks(None, (1, 1), 0)
    with nullcontext() if equal else pytest.raises(ValueError, match="logit_bias must be equal"):
        agreement.require_equal_scalars(scalars, ranks)


def test_scalars_without_a_number_everywhere_are_equal() -> None:
    scalars = torch.tensor([torch.nan, torch.inf], dtype=torch.float64)
    agreement.require_equal_scalars(scalars, Ranks(None, (1,), 0))


@pytest.mark.parametrize("clamp_eps", [None, 1e-3])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.ones(3, 2), r"shape \(3, 3\), images by texts, got \(3, 2\)"),
        (torch.ones(3), r"shape \(3, 3\), images by texts, got \(3,\)"),
        (Dense(torch.ones(4, 4)), r"shape \(3, 3\), images by texts, got \(4, 4\)"),
        (EYE - 0.1, "not negative, got 6 negative"),
        (EYE * torch.nan, "must be finite"),
        (EYE.to("meta"), "device of the features, cpu, got meta"),
        (EYE.to_sparse(), r"must be a dense tensor, got torch.sparse_coo; make it an operator"),
        ([[1.0]], "members of selip_core.losses.Target, got list"),
    ],
)
def test_target(target: Any, message: str, clamp_eps: float | None) -> None:
    with pytest.raises(ValueError, match=message):
        loss(target=target, clamp_eps=clamp_eps)


@pytest.mark.parametrize("axis", ["row", "column"])
def test_target_that_cannot_be_normalised(axis: str) -> None:
    target = torch.ones(3, 3)
    target[1] = 0
    with pytest.raises(ValueError, match=f"every {axis} of the target must have a finite sum"):
        loss(target=target if axis == "row" else target.T)


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (1.0, -1.0), (0.0, 0.0), (torch.nan, 1.0)])
def test_weights(weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite and at least 0, one of them above 0"):
        loss(align_weight=weights[0], similarity_weight=weights[1])
    with pytest.raises(ValueError, match="finite and at least 0, one of them above 0"):
        SimilarityCLIPLoss(*weights)


@pytest.mark.parametrize("clamp_eps", [0.0, 1.0, -1e-3, torch.nan])
def test_clamp(clamp_eps: float) -> None:
    with pytest.raises(ValueError, match="clamp_eps must be None or between 0 and 1"):
        loss(clamp_eps=clamp_eps)
    with pytest.raises(ValueError, match="clamp_eps must be None or between 0 and 1"):
        SimilarityCLIPLoss(clamp_eps=clamp_eps)


def test_clamp_across_processes() -> None:
    group: Any = object()
    with pytest.raises(ValueError, match="clamp_eps works in one process only"):
        check_clamp(1e-3, group)


def test_clamp_of_a_target_without_tiles() -> None:
    class Untiled:
        shape, dtype, device = (3, 3), torch.float32, torch.device("cpu")
        matmul = rmatmul = row_sums = column_sums = dense = lambda self: None

        def to(self, device: torch.device, dtype: torch.dtype) -> "Untiled":
            return self

    with pytest.raises(ValueError, match=r"needs a target with tile\(rows, columns\), got Untiled"):
        loss(target=Untiled(), clamp_eps=1e-3, backend="chunked")


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match=r"backend must be one of .* got 'cuda'"):
        loss(backend="cuda")


def test_features_that_are_no_tensors():
    features = torch.eye(2)
    with pytest.raises(ValueError, match="text_features must be a torch tensor, got ndarray"):
        similarity_clip_loss(features, features.numpy(), 1.0)
