"""What a pair with a missing value is worth, alone and in sums and products."""

import pytest
import torch

from selip_core.findings import Finding, Report
from selip_core.similarity import closeness, dice, embedding, exact, fuzzy, ordered, synonyms
from selip_core.similarity.corpus import CorpusBuilder

NAN = float("nan")
MAKERS = {
    "exact": exact,
    "dice": dice,
    "fuzzy": fuzzy,
    "closeness": lambda field, missing: closeness(field, 2, missing=missing),
    "ordered": lambda field, missing: ordered(field, ["a", "b"], missing=missing),
    "synonyms": lambda field, missing: synonyms(field, [["a", "c"]], missing=missing),
    "embedding": lambda field, missing: embedding(
        field, lambda texts: torch.ones(len(texts), 2), missing=missing
    ),
}
# Both missing, one missing.
WORTH = {"equal": (1, 0), "nothing": (0, 0), "neutral": (1, 1), "leave_out": (NAN, NAN)}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("missing", WORTH)
def test_every_kernel_has_every_policy(name, missing):
    kernel = MAKERS[name]("x", missing=missing)
    both, one = WORTH[missing]
    codes = torch.tensor([-1, 0], dtype=torch.int32)
    expected = torch.tensor([[both, one], [one, 1.0]])
    for values in (["a"], ["a", "b"]):
        read = kernel.read(values)
        for dtype in (torch.float32, torch.float64):
            block = kernel.compare(read, codes[:, None], codes[None, :], dtype)
            torch.testing.assert_close(block, expected.to(dtype), equal_nan=True)
        pairs = kernel.compare(read, torch.tensor([-1, -1, 0]), torch.tensor([-1, 0, 0]))
        torch.testing.assert_close(
            pairs, torch.tensor([both, one, 1.0]).double(), equal_nan=True, rtol=0, atol=1e-6
        )
    none = kernel.compare(kernel.read([]), codes[:1], codes[:1])
    torch.testing.assert_close(none, torch.tensor([both]).double(), equal_nan=True)


def kernel_of(kernel, *findings):
    """Return the kernel of the first finding with the others."""
    builder = CorpusBuilder(kernel)
    for place, finding in enumerate(findings):
        builder.add(Report(id=str(place), findings=[finding]))
    corpus = builder.build()
    count = len(next(iter(corpus.codes.values())))
    return corpus.block(torch.arange(1), torch.arange(1, count), torch.float64)[0].tolist()


PAIR = Finding(site="pons", signal="high"), Finding(site="pons", extent="3 mm")


@pytest.mark.parametrize(
    ("missing", "in_sum", "in_product"),
    # site agrees; one finding lacks signal: 0.25 * 1 + 0.5 * signal, 1 * signal.
    [
        ("equal", 0.25, 0.0),
        ("nothing", 0.25, 0.0),
        ("neutral", 0.75, 1.0),
        ("leave_out", 0.75, 1.0),
    ],
)
def test_one_missing_in_sums_and_products(missing, in_sum, in_product):
    site, signal = exact("site"), exact("signal", missing=missing)
    assert kernel_of(0.25 * site + 0.5 * signal, *PAIR) == [pytest.approx(in_sum, abs=1e-15)]
    assert kernel_of(site * signal, *PAIR) == [in_product]
    assert kernel_of(signal * site, *PAIR) == [in_product]


def test_left_out_terms_make_the_others_count_more():
    # site differs (0), extent is left out, signal agrees: 0.3 * (0.2 + 0.3 + 0.5) / (0.2 + 0.3).
    kernel = (
        0.2 * exact("site") + 0.3 * exact("signal") + 0.5 * exact("extent", missing="leave_out")
    )
    pair = Finding(site="pons", signal="high"), Finding(site="insula", signal="high", extent="1 mm")
    assert kernel_of(kernel, *pair) == [pytest.approx(0.6, abs=1e-15)]


def test_where_all_is_left_out():
    site, signal = exact("site", missing="leave_out"), exact("signal", missing="leave_out")
    pair = Finding(site="pons"), Finding(signal="high")
    assert kernel_of(0.5 * site + 0.5 * signal, *pair) == [0]
    assert kernel_of(site * signal, *pair) == [0]
    assert kernel_of(0.5 * (site * signal) + 0.5 * exact("laterality"), *pair) == [1]
    sides = Finding(site="pons", laterality="left"), Finding(laterality="left")
    assert kernel_of((0.5 * site) ** 2 * exact("laterality"), *sides) == [0.25]
