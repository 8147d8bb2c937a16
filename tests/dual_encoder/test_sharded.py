"""Dual encoders spread over two processes train, save and load as in one process."""

from pathlib import Path
from typing import Any

import pytest
import torch

from selip_core.losses import SimilarityCLIPLoss

PROGRAM = Path(__file__).with_name("sharded_program.py")
WAYS = ("whole", "root", "encoders", "ddp", "encoders in ddp")
SHARDED = ("whole", "root", "encoders")


@pytest.fixture(scope="module")
def one_process(program: Any) -> Any:
    model, images, texts = program.made()

    def loss(*outputs: Any) -> Any:
        return SimilarityCLIPLoss(backend="chunked")(*outputs, target=program.target())

    return program.train(model, model, (images, texts), loss, 1)


@pytest.mark.parametrize("chunks", ["", ", chunks"])
@pytest.mark.parametrize("way", WAYS)
def test_training_is_that_of_one_process(
    ranks: list[dict[str, Any]], one_process: Any, way: str, chunks: str
) -> None:
    first, second = (rank[f"{way}{chunks}"] for rank in ranks)
    shares = torch.tensor([first["losses"], second["losses"]], dtype=torch.float64)
    expected = torch.tensor(one_process["losses"], dtype=torch.float64)
    torch.testing.assert_close(shares.mean(0), expected, rtol=1e-10, atol=1e-10)
    for rank in (first, second):
        assert rank["scale gradients"] == pytest.approx(one_process["scale gradients"], rel=1e-9)
        assert rank["weights"].keys() == one_process["weights"].keys()
        for name, weight in one_process["weights"].items():
            assert rank["weights"][name] == pytest.approx(weight, rel=1e-8, abs=1e-10), name


@pytest.mark.parametrize("way", WAYS)
def test_ranks_have_the_same_scale_to_the_bit(ranks: list[dict[str, Any]], way: str) -> None:
    first, second = (rank[way] for rank in ranks)
    assert first["scale gradients"] == second["scale gradients"]
    assert first["weights"]["log_logit_scale"] == second["weights"]["log_logit_scale"]


def test_the_scale_is_trained_and_clamped(one_process: Any) -> None:
    (logarithm,) = one_process["weights"]["log_logit_scale"]
    assert logarithm != pytest.approx(torch.tensor(1 / 0.07).log().item(), rel=1e-3)
    assert logarithm <= torch.tensor(15.0).log().item() + 1e-6


@pytest.mark.parametrize("way", SHARDED)
def test_what_is_saved_comes_back_to_the_bit(ranks: list[dict[str, Any]], way: str) -> None:
    for rank in ranks:
        result = rank[f"{way}, saved"]
        assert result["again"] == result["before"]
        assert result["tied"]
        assert result["features"]
        assert result["scale"] == pytest.approx(1 / 0.07, rel=1e-6)


@pytest.mark.parametrize("way", SHARDED)
def test_a_save_that_fails_fails_on_every_rank(ranks: list[dict[str, Any]], way: str) -> None:
    first, second = (rank[f"{way}, saved"]["second"] for rank in ranks)
    assert first.startswith("FileExistsError: ")
    assert second == "OSError: the first rank could not write the model; see the error it raised"


@pytest.mark.parametrize("keep_parameters", [False, True])
def test_flat_parameters_train_and_are_not_saved(
    ranks: list[dict[str, Any]], one_process: Any, keep_parameters: bool
) -> None:
    for rank in ranks:
        result = rank[f"flat, {keep_parameters}"]
        (logarithm,) = one_process["weights"]["log_logit_scale"]
        assert result["scale"] == pytest.approx(torch.tensor(logarithm).exp().item(), rel=1e-6)
        for name, weight in result["weights"].items():
            expected = one_process["weights"][name]
            assert weight == pytest.approx(expected, rel=1e-8, abs=1e-10), name
        *missing, refused = result["errors"]
        assert "got" in refused
        assert "of FullyShardedDataParallel: load" in refused
        assert len(missing) == (0 if keep_parameters else 2)
        assert all("log_logit_scale must be in memory" in error for error in missing)
