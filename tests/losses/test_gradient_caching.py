"""A step with cached gradients has the gradients of the step in one piece, in less memory."""

import gc
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize
from torch.nn.parallel import DistributedDataParallel

from selip_core import DualEncoder
from selip_core.losses import SimilarityCLIPLoss, cached_contrastive_step, similarity_clip_loss

PROGRAM = Path(__file__).with_name("gradient_caching_program.py")
ROWS, HIDDEN = 10, 16


class Towers(DualEncoder):
    """A model that learns its scale, with a layer in between and dropout if asked for."""

    def __init__(self, dropout: float = 0.0) -> None:
        torch.manual_seed(0)
        hidden = nn.Linear(6, HIDDEN), nn.GELU(), nn.Dropout(dropout)
        super().__init__(nn.Sequential(*hidden, nn.Linear(HIDDEN, 4)), nn.Linear(5, 4))


def drawn(rows: int = ROWS, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, texts and a target."""
    generator = torch.Generator().manual_seed(1)
    shapes = (rows, 6), (rows, 5), (rows, rows)
    images, texts, target = (torch.rand(shape, generator=generator) for shape in shapes)
    return images.to(dtype), texts.to(dtype), target.to(dtype).fill_diagonal_(1)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return all gradients, and reset them."""
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def in_one_piece(model: nn.Module, batch: Any, loss: Callable[..., Tensor]) -> Tensor:
    outputs = model(**batch) if isinstance(batch, Mapping) else model(*batch)
    value = loss(**outputs) if isinstance(outputs, Mapping) else loss(*outputs)
    value.backward()
    return value.detach()


def assert_equal(
    model: nn.Module, batch: Any, loss: Callable[..., Tensor], chunk_size: int, tolerance: float
) -> None:
    """Compare a cached step with one in one piece; the tolerance is of the largest gradient."""
    expected, expected_gradients = in_one_piece(model, batch, loss), gradients(model)
    actual = cached_contrastive_step(model, batch, loss, chunk_size)
    assert not actual.requires_grad
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)
    allowed = tolerance * max(gradient.abs().max() for gradient in expected_gradients.values())
    torch.testing.assert_close(gradients(model), expected_gradients, atol=allowed.item(), rtol=0)


@pytest.mark.parametrize("chunk_size", [1, 3, ROWS, 99])
@pytest.mark.parametrize("with_target", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_gradients_are_those_of_one_piece(
    chunk_size: int, with_target: bool, dtype: torch.dtype, tolerance: float
) -> None:
    images, texts, target = drawn(dtype=dtype)
    loss = partial(SimilarityCLIPLoss(), target=target if with_target else None)
    assert_equal(Towers().to(dtype), (images, texts), loss, chunk_size, tolerance)


def test_gradients_are_added() -> None:
    images, texts, _ = drawn()
    model = Towers()
    for _ in range(2):
        cached_contrastive_step(model, (images, texts), similarity_clip_loss, 4)
    twice = gradients(model)
    in_one_piece(model, (images, texts), similarity_clip_loss)
    torch.testing.assert_close(twice, {name: 2 * once for name, once in gradients(model).items()})


class Sigmoid(nn.Module):
    """A model and its batch by name, words in a list, and a scale of one dimension."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.words = nn.Linear(6, 4), nn.Embedding(7, 4)
        self.scale, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.tensor(-1.0))

    def forward(self, image: Tensor, text: Mapping[str, Any]) -> dict[str, Any]:
        assert len(image) == len(text["words"]) == len(text["weight"])
        words = self.words(torch.tensor([len(word) for word in text["words"]]))
        return {
            "image_features": normalize(self.image(image), dim=1),
            "text_features": normalize(text["weight"] * words, dim=1),
            "logit_scale": self.scale.exp(),
            "logit_bias": self.bias,
            "sharpness": 2.0,
        }


def sigmoid_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    sharpness: float,
) -> Tensor:
    logits = sharpness * logit_scale * image_features @ text_features.T + logit_bias
    return -logsigmoid(logits * (2 * torch.eye(len(logits)) - 1)).mean()


def test_names_nested_parts_lists_and_a_bias() -> None:
    images, _, _ = drawn()
    text = {"words": ["a" * (number % 7) for number in range(ROWS)], "weight": 1 + images[:, :1]}
    assert_equal(Sigmoid(), {"image": images, "text": text}, sigmoid_loss, 4, 1e-6)


def test_what_a_data_loader_gives_is_a_list() -> None:
    images, texts, _ = drawn()
    model = Towers()
    value = cached_contrastive_step(model, [images, texts], similarity_clip_loss, 4)
    torch.testing.assert_close(
        value, in_one_piece(model, (images, texts), similarity_clip_loss), atol=1e-6, rtol=1e-6
    )


def test_one_tensor_and_a_frozen_tower() -> None:
    class Halves(Towers):
        def forward(self, both: Tensor) -> Any:
            return super().forward(both[:, :6], both[:, 6:])

    images, texts, _ = drawn()
    model = Halves()
    model.image_encoder.requires_grad_(False)
    both = torch.cat([images, texts], dim=1)
    cached_contrastive_step(model, both, similarity_clip_loss, 4)
    actual = gradients(model)
    in_one_piece(model, (both,), similarity_clip_loss)
    torch.testing.assert_close(actual, gradients(model), atol=1e-6, rtol=1e-6)
    assert sorted(actual) == ["log_logit_scale", "text_encoder.bias", "text_encoder.weight"]


def test_dropout_is_the_same_twice() -> None:
    images, texts, _ = drawn()
    model = Towers(dropout=0.5)
    torch.manual_seed(3)
    pieces = [model(images[rows], texts[rows]) for rows in (slice(0, 4), slice(4, 8), slice(8, 12))]
    drawn_next = torch.rand(1)
    features = (torch.cat([piece[side] for piece in pieces]) for side in (0, 1))
    expected = similarity_clip_loss(*features, model.logit_scale)
    expected.backward()
    expected_gradients = gradients(model)
    torch.manual_seed(3)
    actual = cached_contrastive_step(model, (images, texts), similarity_clip_loss, 4)
    torch.testing.assert_close(actual, expected.detach())
    torch.testing.assert_close(gradients(model), expected_gradients, atol=1e-6, rtol=1e-6)
    assert torch.equal(torch.rand(1), drawn_next)


def test_autocast_holds_both_times() -> None:
    images, texts, target = drawn()
    model, seen = Towers(), []
    model.text_encoder.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    loss = partial(SimilarityCLIPLoss(), target=target)
    with torch.autocast("cpu", torch.bfloat16):
        expected = in_one_piece(model, (images, texts), loss)
        expected_gradients = gradients(model)
        actual = cached_contrastive_step(model, (images, texts), loss, 4)
    assert set(seen) == {torch.bfloat16}
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-6)
    # The gradient of a weight is rounded to bfloat16 for each chunk.
    torch.testing.assert_close(gradients(model), expected_gradients, atol=1e-2, rtol=1e-2)


def in_full_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    def without_autocast(*arguments: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            return function(*arguments)

    return without_autocast


def test_autocast_does_not_reach_backward_passes() -> None:
    def loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> Tensor:
        return sigmoid_loss(image_features, text_features, logit_scale, torch.zeros(()), 1.0)

    images, texts, _ = drawn()
    model = Towers()
    expected, expected_gradients = in_one_piece(model, (images, texts), loss), gradients(model)
    model.forward = in_full_precision(model.forward)
    with torch.autocast("cpu", torch.bfloat16):
        actual = cached_contrastive_step(model, (images, texts), in_full_precision(loss), 4)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(gradients(model), expected_gradients, atol=1e-6, rtol=1e-5)


def test_a_scaler_scales_the_gradients_and_not_the_value() -> None:
    images, texts, _ = drawn()
    model = Towers()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    expected, plain = in_one_piece(model, (images, texts), similarity_clip_loss), gradients(model)
    actual = cached_contrastive_step(
        model,
        (images, texts),
        similarity_clip_loss,
        4,
        backward=lambda loss: scaler.scale(loss).backward(),
    )
    torch.testing.assert_close(actual, expected)
    scaled = {name: 1024 * gradient for name, gradient in plain.items()}
    torch.testing.assert_close(gradients(model), scaled, atol=1e-3, rtol=1e-5)


class MostSaved:
    """Adds up the hidden activations that graphs keep alive, and remembers the most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def count(self, run: Callable[[], object]) -> int:
        with torch.autograd.graph.saved_tensors_hooks(partial(Saved, self), lambda box: box.tensor):
            run()
        assert self.now == 0
        return self.most


class Saved:
    """A saved tensor, counted for as long as it is kept."""

    def __init__(self, counter: MostSaved, tensor: Tensor) -> None:
        self.counter, self.tensor = counter, tensor
        self.size = tensor.nbytes if HIDDEN in tensor.shape[1:] else 0
        counter.now += self.size
        counter.most = max(counter.most, counter.now)

    def __del__(self) -> None:
        self.counter.now -= self.size


def test_activations_do_not_grow_with_the_batch() -> None:
    def most(step: Callable[..., Any], rows: int) -> int:
        images, texts, _ = drawn(rows)
        model = Towers()
        return MostSaved().count(lambda: step(model, (images, texts), similarity_clip_loss))

    def cached(*arguments: Any) -> Tensor:
        return cached_contrastive_step(*arguments, chunk_size=8)

    assert most(in_one_piece, 96) == 4 * most(in_one_piece, 24)
    assert 0 < most(cached, 96) == most(cached, 24) == most(in_one_piece, 24) / 3


def test_outputs_that_are_views_do_not_keep_what_they_look_at() -> None:
    class FirstToken(Towers):
        def forward(self, images: Tensor, texts: Tensor) -> Any:
            image_features, text_features, scale = super().forward(images, texts)
            return torch.stack([image_features] * 53, dim=1)[:, 0], text_features, scale

    def sizes_alive(*outputs: Tensor) -> Tensor:
        tensors = [found for found in gc.get_objects() if type(found) is Tensor]
        alive = [found for found in tensors if found.shape == (ROWS, 4)]
        sizes.extend(found.untyped_storage().nbytes() // found.nbytes for found in alive)
        return similarity_clip_loss(*outputs)

    sizes: list[int] = []
    images, texts, _ = drawn()
    cached_contrastive_step(FirstToken(), (images, texts), sizes_alive, ROWS)
    assert 1 in sizes
    assert 53 not in sizes


def with_norm(norm: nn.Module) -> Towers:
    model = Towers()
    model.text_encoder = nn.Sequential(nn.Linear(5, 4), norm)
    return model


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.SyncBatchNorm(4)])
def test_statistics_of_the_batch_are_refused(norm: nn.Module) -> None:
    images, texts, _ = drawn()
    with pytest.raises(ValueError, match=r"\['text_encoder.1'\]: freeze .* eval\(\) .* GroupNorm"):
        cached_contrastive_step(with_norm(norm), (images, texts), similarity_clip_loss, 4)


def test_without_running_statistics_eval_is_refused_too() -> None:
    images, texts, _ = drawn()
    model = with_norm(nn.BatchNorm1d(4, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match="GroupNorm"):
        cached_contrastive_step(model, (images, texts), similarity_clip_loss, 4)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4).eval(), nn.GroupNorm(2, 4)])
def test_other_normalisation_is_equal(norm: nn.Module) -> None:
    images, texts, _ = drawn()
    assert_equal(with_norm(norm), (images, texts), similarity_clip_loss, 4, 1e-6)


@pytest.mark.parametrize(
    ("batch", "chunk_size", "message"),
    [
        (drawn()[:2], 0, "chunk_size must be at least 1, got 0"),
        ((torch.ones(3, 6), torch.ones(2, 5)), 2, r"equally many rows.*'batch\[0\]': 3.*: 2"),
        (({"image": torch.ones(3, 6)}, torch.tensor(1)), 2, r"batch\[1\] must be a tensor or a"),
        ({"images": torch.ones(3, 6), "texts": "abc"}, 2, r"batch\['texts'\] must be .* got str"),
        ((), 2, "equally many rows, got {}"),
    ],
)
def test_wrong_batches(batch: Any, chunk_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cached_contrastive_step(Towers(), batch, similarity_clip_loss, chunk_size)


class Returns(nn.Module):
    """Gives what it is told to, made of its parameter."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.weight, self.make = nn.Parameter(torch.ones(2)), make

    def forward(self, rows: Tensor) -> Any:
        return self.make(rows * self.weight)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rows: rows, "as a mapping or a tuple, got Tensor"),
        (lambda rows: (rows, rows, rows[:, 0]), r"shape \(2,\) as output 2"),
        (lambda rows: (rows.detach(), rows.detach(), 1.0), "needs a gradient, got none"),
    ],
)
def test_wrong_outputs(make: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cached_contrastive_step(Returns(make), torch.eye(2), similarity_clip_loss, 2)


def test_an_output_may_be_given_twice() -> None:
    model = Returns(lambda rows: (rows, rows, 1.0))
    images, _, _ = drawn()
    assert_equal(model, (images[:, :2],), similarity_clip_loss, 3, 1e-6)


def test_a_loss_with_statistics_is_refused() -> None:
    images, texts, _ = drawn()
    loss = partial(similarity_clip_loss, return_stats=True)
    with pytest.raises(ValueError, match="scalar tensor, got LossAndStatistics"):
        cached_contrastive_step(Towers(), (images, texts), loss, 4)


DATA_PARALLEL = ["ddp", "ddp, empty rank", "ddp within a module", "ddp, unused parameters"]


@pytest.mark.parametrize("kind", [*DATA_PARALLEL, "fully_shard"])
def test_two_processes_have_the_gradients_of_one(
    ranks: list[dict[str, Any]], program: Any, kind: str
) -> None:
    model, images, texts = program.made()
    loss = partial(SimilarityCLIPLoss(), target=program.target())
    for _ in range(2):
        expected = in_one_piece(model, (images, texts), loss)
    found = [rank[kind] for rank in ranks]
    torch.testing.assert_close(sum(result["loss"] for result in found) / 2, expected.item())
    for name, gradient in gradients(model).items():
        for result in found:
            actual = torch.tensor(result[name], dtype=torch.float64)
            torch.testing.assert_close(actual, gradient.flatten(), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", DATA_PARALLEL)
def test_gradients_are_synchronised_once(
    ranks: list[dict[str, Any]], program: Any, kind: str
) -> None:
    once = sum(parameter.numel() for parameter in program.made()[0].parameters())
    assert [rank[kind]["synchronised"] for rank in ranks] == [2 * once] * 2


@pytest.mark.parametrize("setting", ["static_graph", "delay_all_reduce_named_params"])
def test_settings_of_ddp_without_no_sync_are_refused_on_every_rank(
    ranks: list[dict[str, Any]], setting: str
) -> None:
    for rank in ranks:
        assert f"torch does not do with {setting}: leave {setting} out" in rank[setting]["error"]
        assert rank[setting]["calls"] == 0


@pytest.mark.parametrize("kind", ["an encoder within a module", "FullyShardedDataParallel"])
def test_unequally_many_chunks_of_a_sharded_model_are_refused_on_every_rank(
    ranks: list[dict[str, Any]], kind: str
) -> None:
    for rank, chunks in zip(ranks, (1, 3), strict=True):
        assert f"got between 1 and 3, {chunks} on this rank" in rank[kind]["error"]
        assert rank[kind]["calls"] == 0


def test_a_parameter_that_ddp_has_not_synchronised_is_an_error(
    ranks: list[dict[str, Any]],
) -> None:
    for rank in ranks:
        assert "wrap the model with find_unused_parameters=True" in rank["not synchronised"]


class Fabric(nn.Module):
    """A wrapper around another that forwards no attributes, as those of Lightning."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *batch: Tensor) -> Any:
        return self.inner(*batch)


@pytest.fixture
def group_of_one() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize("around", [lambda model: model, Fabric, torch.compile])
def test_a_static_graph_is_found_within_wrappers(around: Callable[[nn.Module], nn.Module]) -> None:
    images, texts, _ = drawn()
    model = Towers()
    calls = []
    model.register_forward_hook(lambda *call: calls.append(call))
    wrapped = around(DistributedDataParallel(model, static_graph=True))
    with pytest.raises(ValueError, match="does not do with static_graph: leave static_graph out"):
        cached_contrastive_step(wrapped, (images, texts), similarity_clip_loss, 4)
    assert calls == []


@pytest.mark.usefixtures("group_of_one")
def test_a_static_graph_of_one_tower_is_found() -> None:
    images, texts, _ = drawn()
    model = Towers()
    model.text_encoder = DistributedDataParallel(model.text_encoder, static_graph=True)
    with pytest.raises(ValueError, match="DistributedDataParallel at text_encoder must"):
        cached_contrastive_step(model, (images, texts), similarity_clip_loss, 4)
