"""What a pair with a missing value is worth, alone and in sums and products."""

import itertools
import json

import pytest
import torch

from selip_core.findings import Finding, Report
from selip_core.similarity import (
    SyntaxSimilarity,
    closeness,
    dice,
    embedding,
    exact,
    fuzzy,
    load_similarity,
    ordered,
    synonyms,
)
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


SITE, SIGNAL, SIDE = (exact(f, missing="leave_out") for f in ("site", "signal", "laterality"))
NEGATION = exact("negated")
ALL_LEFT_OUT = (
    SITE * SIGNAL,
    SITE * SIGNAL * SIDE,
    SITE * (SIGNAL * SIDE) ** 0.5,
    (0.5 * (SITE * SIGNAL)) ** 2,
    0.5 * (SITE * SIGNAL) + 0.5 * (SIGNAL * SIDE),
    0.5 * SITE + 0.25 * SIGNAL + 0.25 * SIDE,
    (0.5 * SITE + 0.5 * SIGNAL) * SIDE,
    (0.5 * SITE + 0.5 * SIGNAL) ** 3 * SIDE,
    dice("site", missing="leave_out") * fuzzy("signal", missing="leave_out"),
    exact(("site", "negated"), missing="leave_out") * SIGNAL,
    NEGATION * SITE * SIGNAL,
    (NEGATION * SITE) * (SIGNAL * NEGATION**2),
    0.5 * (NEGATION * SITE) + 0.5 * (NEGATION * SIGNAL),
    0.5 * NEGATION + 0.5 * (SITE * SIGNAL),
)


def finding_of(fields, negated):
    words = {"site": "pons", "signal": "high", "laterality": "left"}
    return Finding(negated=negated, **{field: words[field] for field in fields})


PARTLY_FILLED = [
    (set(fields), finding_of(fields, negated))
    for count in (1, 2, 3)
    for fields in itertools.combinations(("site", "signal", "laterality"), count)
    for negated in (False, True)
]


@pytest.mark.parametrize("kernel", ALL_LEFT_OUT, ids=str)
@pytest.mark.parametrize("negated", ["apart", "ignored"])
def test_pairs_of_which_nothing_is_known_have_0(kernel, negated):
    read = set(kernel.fields)
    known = [(fields, f) for fields, f in PARTLY_FILLED if fields & read]
    # Twice as many reports as findings: the mean goes through findings, the best through contents.
    reports = [
        Report(id=f"{copy} {place}", findings=[finding])
        for copy in range(2)
        for place, (_, finding) in enumerate(known)
    ]
    nothing = torch.tensor([[not (a & b & read) for a, _ in known] for b, _ in known])
    for aggregation in ("best", "mean"):
        similarity = SyntaxSimilarity(kernel, negated=negated, aggregation=aggregation, gamma=1)
        operator = similarity.fit(reports).batch(dtype=torch.float64)
        table = operator.dense()
        assert bool((table[nothing.repeat(2, 2)] == 0).all())
        assert bool((table.diag() == 1).all())
        a, b = nothing.nonzero()[0].tolist()
        explained = similarity.explain(f"0 {a}", f"1 {b}")
        assert explained.value == 0
        assert explained.matches[0].similarity == 0
        assert similarity.describe((len(reports),)).batches[0].size == len(reports)


def test_what_is_known_of_a_pair_still_counts():
    reports = [
        Report(id="a", findings=[Finding(site="pons")]),
        Report(id="b", findings=[Finding(site="pons", signal="high")]),
        Report(id="c", findings=[Finding(site="insula", signal="high")]),
        Report(id="d", findings=[Finding(site="pons", negated=True)]),
    ]
    for kernel in (SITE * SIGNAL, NEGATION * SITE * SIGNAL, SITE * NEGATION * SIGNAL):
        table = SyntaxSimilarity(kernel, equal="aggregate", gamma=1).fit(reports).batch().dense()
        assert table.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_finding_of_which_only_negation_is_given_says_nothing():
    kernel = exact(("signal", "negated"), missing="leave_out")
    reports = [
        Report(id="a", findings=[Finding(site="pons")]),
        Report(id="b", findings=[Finding(site="insula")]),
        Report(id="c", findings=[Finding(signal="high")]),
        Report(id="d", findings=[Finding(signal="high")]),
    ]
    table = SyntaxSimilarity(kernel).fit(reports).batch().dense()
    assert table.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_a_folder_of_an_earlier_version_is_read_by_the_present_rule(tmp_path):
    # Own similarity of [site only, signal only]: (1 + 0 + 0 + 1) / 4, which once was saved as 1.
    findings = [Finding(site="pons"), Finding(signal="high")]
    reports = [Report(id="a", findings=findings), Report(id="b", findings=findings[:1])]
    similarity = SyntaxSimilarity(SITE * SIGNAL, aggregation="mean", gamma=1).fit(reports)
    similarity._fitted.own.fill_(1)
    similarity.save(tmp_path / "fitted")
    assert json.loads((tmp_path / "fitted" / "card.json").read_text())["reports"] == 2
    table = load_similarity(tmp_path / "fitted").batch().dense()
    torch.testing.assert_close(table, torch.tensor([[1, 0.5], [0.5, 1]]))
