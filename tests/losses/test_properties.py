"""What holds for every batch: symmetries, equal forms of a target, derivatives, training."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import normalize

from selip_core.losses import chunked, similarity_clip_loss
from selip_core.similarity.operators import Dense, Factored, LowRank, Sparse
from selip_core.testing import (
    ValueAndGradients,
    oracle,
    random_features,
    random_similarities,
    value_and_gradients,
)

few = settings(max_examples=15)
STEPS = 200


class Case(NamedTuple):
    """A batch and how the loss is called on it."""

    images: Tensor
    texts: Tensor
    scale: Tensor
    target: Tensor
    options: dict[str, Any]

    def result(self, **changed: Any) -> ValueAndGradients:
        call = {"target": self.target, **self.options, **changed}
        return value_and_gradients(similarity_clip_loss, *self[:3], **call)

    def has_duplicates(self) -> bool:
        return any(len(x.unique(dim=0)) < len(x) for x in self[:2])


@pytest.fixture(scope="module", autouse=True)
def small_tiles() -> Iterator[None]:
    """Tiles of three rows; a fixture of the module, as hypothesis wants it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "WORKSPACE_BYTES", {"cpu": 0})
        patch.setattr(chunked, "FEWEST_ROWS", 3)
        yield


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rows, width = draw(st.integers(1, 13)), draw(st.integers(1, 9))
    seed = draw(st.integers(0, 2**16))
    images, texts = random_features(rows, rows, width, seed=seed)
    if draw(st.booleans()):
        # Duplicates: images as texts, and some of both as others.
        images[rows // 2 :] = images[: rows - rows // 2].clone()
        texts[: rows // 3] = images[: rows // 3]
    options = {
        "backend": draw(st.sampled_from(["chunked", "dense"])),
        "align_weight": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "similarity_weight": draw(st.sampled_from([0.3, 2.0])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.2])),
    }
    scale = torch.tensor(draw(st.sampled_from([0.5, 10.0, 100.0])), dtype=torch.float64)
    return Case(images, texts, scale, random_similarities(rows, seed=seed), options)


def assert_equal(actual: ValueAndGradients, expected: ValueAndGradients) -> None:
    # Gradients are sums of terms of the size of the scale, which may cancel.
    torch.testing.assert_close(actual, expected, atol=1e-11, rtol=1e-9)


@few
@given(cases())
def test_is_the_oracle(case: Case) -> None:
    options = {name: value for name, value in case.options.items() if name != "backend"}
    assert_equal(case.result(), oracle(*case[:3], target=case.target, **options))


@few
@given(cases(), st.randoms())
def test_a_permutation_of_the_batch_permutes_the_gradients(case: Case, random: Any) -> None:
    order = list(range(len(case.images)))
    random.shuffle(order)
    shuffled = case._replace(
        images=case.images[order], texts=case.texts[order], target=case.target[order][:, order]
    )
    whole = case.result()
    expected = whole._replace(
        image_features=whole.image_features[order], text_features=whole.text_features[order]
    )
    assert_equal(shuffled.result(), expected)


@few
@given(cases())
def test_swapping_images_and_texts_swaps_the_gradients(case: Case) -> None:
    swapped = case._replace(images=case.texts, texts=case.images, target=case.target.T)
    whole = case.result()
    expected = whole._replace(
        image_features=whole.text_features, text_features=whole.image_features
    )
    assert_equal(swapped.result(), expected)


@few
@given(cases())
def test_swapping_images_and_texts_swaps_the_parts(case: Case) -> None:
    swapped = case._replace(images=case.texts, texts=case.images, target=case.target.T)
    _, parts = similarity_clip_loss(
        *case[:3], target=case.target, return_stats=True, **case.options
    )
    _, others = similarity_clip_loss(
        *swapped[:3], target=swapped.target, return_stats=True, **case.options
    )
    for one, other in (
        (parts.image_to_text, others.text_to_image),
        (parts.text_to_image, others.image_to_text),
    ):
        names = set(vars(one))
        if case.has_duplicates():
            # Answers that are equally good are so up to rounding, which decides between them.
            names.remove("accuracy")
        for name in names:
            torch.testing.assert_close(getattr(one, name), getattr(other, name))


@few
@given(cases(), st.integers(1, 4))
def test_factored_and_dense_targets_agree(case: Case, rank: int) -> None:
    generator = torch.Generator().manual_seed(rank)
    drawn = {"generator": generator, "dtype": torch.float64}
    left = torch.rand(len(case.images), rank, **drawn) + 0.01
    middle = torch.rand(rank, rank, **drawn)
    right = torch.rand(len(case.images), rank, **drawn) + 0.01
    table = left @ middle @ right.T
    expected = case.result(target=table)
    weights = Sparse.of_table(left), Sparse.of_table(right)
    factored = Factored(weights[0], Dense(middle), weights[1])
    for target in (factored, LowRank(left @ middle, right), Dense(table)):
        assert_equal(case.result(target=target), expected)


@few
@given(cases())
def test_an_identity_target_is_clip(case: Case) -> None:
    total = case.options["align_weight"] + case.options["similarity_weight"]
    softened = case.result(target=torch.eye(len(case.images)))
    clip = case.result(target=None, align_weight=1.0, similarity_weight=0.0)
    assert_equal(softened, ValueAndGradients(*(total * value for value in clip)))


@few
@given(cases())
def test_gradients_in_scale_and_bias_by_finite_differences(case: Case) -> None:
    def loss(scale: Tensor, bias: Tensor) -> Tensor:
        images, texts, *_ = case
        options = {"target": case.target, "logit_bias": bias, **case.options}
        return similarity_clip_loss(images, texts, scale, **options)

    leaves = [case.scale.clone(), torch.tensor(-3.0, dtype=torch.float64)]
    step, gradients = 1e-5, [case.result().logit_scale, torch.tensor(0.0)]
    for index, expected in enumerate(gradients):
        above, below = list(leaves), list(leaves)
        above[index], below[index] = leaves[index] + step, leaves[index] - step
        slope = (loss(*above) - loss(*below)) / (2 * step)
        # Rounding of values of up to 300, by the step; the step squared is below.
        assert float(slope) == pytest.approx(float(expected), abs=1e-7)


@pytest.mark.parametrize("backend", ["chunked", "dense"])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_batch_of_duplicates_shares_everything_alike(backend: str, scale: float) -> None:
    features = normalize(torch.ones(7, 3, dtype=torch.float64), dim=1)
    target = torch.ones(7, 7, dtype=torch.float64)
    options = {"target": target, "backend": backend}
    result = value_and_gradients(similarity_clip_loss, features, features, scale, **options)
    # Every softmax is even: log 7 of the own pairs and as much of the target, and nothing to gain.
    expected = [torch.full_like(value, 0) for value in result]
    expected[0] = 2 * torch.tensor(7.0, dtype=torch.float64).log()
    torch.testing.assert_close(list(result), expected, atol=1e-12, rtol=1e-12)


def curve(backend: str, nudge: float = 0.0, similarity_weight: float = 1.0) -> Tensor:
    """Return the losses of 200 steps of training two small towers on 24 pairs, in float64."""
    generator = torch.Generator().manual_seed(0)
    drawn = {"generator": generator, "dtype": torch.float64}
    images, texts = torch.randn(24, 10, **drawn), torch.randn(24, 8, **drawn)
    towers = [nn.Sequential(nn.Linear(w, 16), nn.Tanh(), nn.Linear(16, 6)) for w in (10, 8)]
    model = nn.ModuleList(towers).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, **drawn) / 4 * (1 + nudge))
    labels = torch.arange(24) // 2
    log_scale = nn.Parameter(torch.tensor(10.0, dtype=torch.float64).log())
    optimizer = torch.optim.SGD([*model.parameters(), log_scale], lr=0.05, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        embedded = [
            normalize(tower(x), dim=1) for tower, x in zip(towers, (images, texts), strict=True)
        ]
        loss = similarity_clip_loss(
            *embedded,
            log_scale.exp(),
            target=(labels[:, None] == labels).double(),
            similarity_weight=similarity_weight,
            backend=backend,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def test_every_back_end_trains_along_the_same_curve() -> None:
    """They differ by no more than rounding in every step, grown as training lets it grow.

    How much that is, a twin tells that starts one rounding away and then computes the same. Back
    ends differ by a few roundings in each of the steps, hence twice the steps times that.
    """
    expected = curve("dense")
    rounding = torch.finfo(torch.float64).eps
    grown = (curve("dense", nudge=2 * rounding) - expected).abs().max()
    bound = 2 * STEPS * max(float(grown), rounding)
    assert expected[-1] < 0.6 * expected[0]
    assert (curve("chunked") - expected).abs().max() <= bound
    # The bound is narrow: one part in a million of a weight is far outside.
    assert (curve("dense", similarity_weight=1 + 1e-6) - expected).abs().max() > 10 * bound
