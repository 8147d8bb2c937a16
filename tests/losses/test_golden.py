"""The loss against values that the authors' own functions gave."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from selip_core.losses import similarity_clip_loss


def offered(config: dict[str, Any]) -> bool:
    return (
        config["include_positive"] and config["sim_norm_mode"] == "linear" and config["KL_way"] == 1
    )


def leaves(loss: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The stored features and the logarithm of the scale after the clamp."""
    names = ("image_features", "text_features", "logit_scale_after_clamp")
    images, texts, log_scale = (
        torch.tensor(loss[name], dtype=torch.float64, requires_grad=True) for name in names
    )
    return images, texts, log_scale


def runs(golden: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Tensor, dict[str, Any]]]:
    for case in golden["cases"]:
        for run in case.get("loss", {}).get("runs", []):
            yield case["loss"], torch.tensor(case["similarity"], dtype=torch.float64), run


def expect(actual: Tensor, stored: Any, tolerance: float) -> None:
    torch.testing.assert_close(
        actual, torch.tensor(stored, dtype=torch.float64), atol=tolerance, rtol=0
    )


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("backend", ["chunked", "dense"])
def test_paper_total(golden: dict[str, Any], backend: str) -> None:
    checked = 0
    for stored, similarities, run in runs(golden):
        config = run["config"]
        if not offered(config):
            continue
        images, texts, log_scale = leaves(stored)
        total = similarity_clip_loss(
            images,
            texts,
            log_scale.exp(),
            target=similarities,
            align_weight=config["loss_alpha"]["align"],
            similarity_weight=config["loss_alpha"]["NegKL"],
            clamp_eps=config["eps"],
            backend=backend,
        )
        total.backward()
        expect(total.detach(), run["total"], 1e-9)
        expect(log_scale.grad, run["grad_logit_scale"], 1e-7)
        expect(images.grad, run["grad_image"], 1e-7)
        expect(texts.grad, run["grad_text"], 1e-7)
        checked += 1
    assert checked == 36


@pytest.mark.parametrize("backend", ["chunked", "dense"])
def test_plain_cross_entropy(golden: dict[str, Any], backend: str) -> None:
    for case in golden["cases"]:
        if "loss" not in case:
            continue
        stored = case["loss"]["align"]
        images, texts, log_scale = leaves(case["loss"])
        loss = similarity_clip_loss(images, texts, log_scale.exp(), backend=backend)
        loss.backward()
        expect(loss.detach(), stored["align"], 1e-9)
        expect(log_scale.grad, stored["grad_logit_scale"], 1e-7)
        expect(images.grad, stored["grad_image"], 1e-7)
        expect(texts.grad, stored["grad_text"], 1e-7)


def test_oracle_in_every_stored_configuration(
    golden: dict[str, Any], authors_total: Callable[..., Tensor]
) -> None:
    for stored, similarities, run in runs(golden):
        images, texts, log_scale = leaves(stored)
        total = authors_total(images, texts, log_scale.exp(), similarities, run["config"])
        total.backward()
        expect(total.detach(), run["total"], 1e-9)
        expect(log_scale.grad, run["grad_logit_scale"], 1e-7)
