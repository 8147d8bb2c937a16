import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selip_core.findings import Finding, Report
from selip_core.similarity import SemanticSimilarity, SyntaxSimilarity, dice, exact, fuzzy, paths
from selip_core.similarity import cost as cost_module
from selip_core.similarity.kernels import table
from selip_core.similarity.operators import (
    Dense,
    Factored,
    Identity,
    RowBlocks,
    ScaledSum,
    Sparse,
    row_blocks,
)

SITES = ["pons", "insula", "thalamus", "cerebellum", "midbrain"]


def reports_of(*sites):
    """A report a site; None is an unknown report, "normal" a normal one."""
    return [
        Report(
            id=f"patient-{number}",
            findings=[] if site in (None, "normal") else [Finding(site=site)],
            normal=site == "normal" or None,
        )
        for number, site in enumerate(sites)
    ]


def by_site(**options):
    return SyntaxSimilarity(exact("site"), **{"gamma": 1.0, **options})


def test_by_hand():
    description = by_site().fit(reports_of("pons", "insula", "thalamus", "pons")).describe((4,))
    (batch,) = description.batches
    # two rows of one, two rows that share their mass with an equal report
    assert (batch.own_mass, batch.same_mass) == pytest.approx((0.75, 1.0))
    assert batch.distinct_mass == pytest.approx(1.0)
    assert batch.positives == pytest.approx((1 + 1 + 2 + 2) / 4)
    assert batch.false_negatives == 0.5
    found = description.distribution
    assert (found.pairs, found.mean, found.zeros, found.ones) == (12, 1 / 6, 10 / 12, 2 / 12)
    assert (found.counts[0], found.counts[-1], sum(found.counts)) == (10, 2, 12)
    assert found.most_alike[0].similarity == 0
    assert [pair.positions for pair in found.least_alike] == [(0, 3)]
    assert description.warnings == ()


FINDINGS = st.lists(
    st.builds(Finding, site=st.sampled_from(SITES), signal=st.sampled_from(["high", "low"])),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=25)
@given(
    contents=st.lists(FINDINGS, min_size=2, max_size=9),
    options=st.fixed_dictionaries(
        {
            "aggregation": st.sampled_from(["mean", "best"]),
            "gamma": st.sampled_from([1.0, 3.0]),
            "own_floor": st.sampled_from([0.0, 0.5]),
            "min_similarity": st.sampled_from([0.0, 0.2]),
        }
    ),
    threshold=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_equals_its_definition(contents, options, threshold):
    reports = [Report(id=str(i), findings=findings) for i, findings in enumerate(contents)]
    similarity = SyntaxSimilarity(0.5 * exact("site") + 0.5 * exact("signal"), **options)
    description = similarity.fit(reports).describe((100,), threshold=threshold)
    values = similarity.batch().dense().double()
    said = [sorted((f.site, f.signal) for f in findings) for findings in contents]
    same = torch.tensor([[a == b for b in said] for a in said])
    own = torch.eye(len(contents), dtype=torch.bool)
    rows = values / values.sum(1, keepdim=True)
    (batch,) = description.batches
    assert batch.own_mass == pytest.approx(float(rows.diag().mean()), abs=1e-6)
    assert batch.same_mass == pytest.approx(float((rows * same).sum(1).mean()), abs=1e-6)
    alone = 1 / same.double().sum(1)
    distinct = ((rows * same).sum(1) * alone).sum() / alone.sum()
    assert batch.distinct_mass == pytest.approx(float(distinct), abs=1e-6)
    positives = float((-torch.xlogy(rows, rows).sum(1)).exp().mean())
    assert batch.positives == pytest.approx(positives, abs=1e-4)
    alike = ((values >= threshold) | same) & ~own
    assert batch.false_negatives == pytest.approx(float(alike.any(1).double().mean()))
    found = description.distribution
    assert found.mean == pytest.approx(float(values[~own].mean()), abs=1e-6)
    assert found.zeros == pytest.approx(float((values[~own] == 0).double().mean()))
    others = torch.where(same, 0, values).triu(1)
    if found.most_alike:
        assert found.most_alike[0].similarity == pytest.approx(float(others.max()))
    assert sum(found.counts) == found.pairs == len(contents) * (len(contents) - 1)


def test_batches_are_drawn_from_the_whole_corpus_by_the_seed():
    similarity = by_site().fit(reports_of(*SITES * 40))
    first, again, other = (similarity.describe((16,), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.distribution.least_alike != other.distribution.least_alike
    # 16 of 200 reports with 5 sites: 1 / (1 + 15 * 39 / 199) of a row is its own, nearly
    assert first.batches[0].own_mass == pytest.approx(1 / (1 + 15 * 39 / 199), abs=0.05)
    assert first.batches[0].batches == 64


def test_larger_batches_than_the_corpus_are_cut_and_told():
    description = by_site().fit(reports_of(*SITES)).describe((2, 16, 64), samples=4)
    assert [batch.size for batch in description.batches] == [2, 5]
    assert "cut to all fitted reports: batches of 16, 64" in str(description)


def test_unknown_reports_are_the_same_as_none_and_normal_ones_as_each_other():
    paper = by_site(normal="paper").fit(reports_of(None, None, "normal", "normal"))
    (batch,) = paper.describe((4,)).batches
    assert batch.own_mass == batch.same_mass == 1
    # the two normal reports are pushed apart whatever the similarity says of them
    assert batch.false_negatives == 0.5
    (corpus,) = paper.describe((4,)).corpora
    assert (corpus.normal, corpus.unknown, corpus.contents) == (2, 2, 1)


def distinct_sites(count):
    return reports_of(*(f"site {number}" for number in range(count)))


def test_warns_of_a_diffuse_target_and_of_no_other():
    diffuse = SyntaxSimilarity(
        0.5 * exact("modality") + 0.5 * exact("site"), aggregation="mean", gamma=1.0
    ).fit(distinct_sites(30))
    # own pair: 1 / (1 + 0.5 (N - 1))
    (warning,) = diffuse.describe((4, 8, 10, 12), samples=30).warnings
    assert "on what says the same in batches of 10, 12 (0.18, 0.15)" in warning
    assert "sharpen it with gamma" in warning
    assert diffuse.describe((4, 8), samples=30).warnings == ()


def test_many_normal_reports_do_not_hide_a_diffuse_target():
    similarity = SyntaxSimilarity(
        0.5 * exact("modality") + 0.5 * exact("site"), aggregation="mean", gamma=1.0
    )
    sites = (f"site {number}" for number in range(19))
    described = similarity.fit(reports_of(*sites, *["normal"] * 21)).describe((40,))
    (batch,) = described.batches
    # 19 rows of 1 / 10, 21 of 1; each of the 21 counts as a 21st
    assert batch.same_mass == pytest.approx((19 / 10 + 21) / 40)
    assert batch.distinct_mass == pytest.approx((19 / 10 + 1) / 20)
    assert "less than 0.2" in described.warnings[0]


def test_warns_otherwise_where_equal_reports_share_the_mass():
    similarity = by_site().fit(reports_of(*["pons"] * 11))
    assert similarity.describe((9,), samples=9).warnings == ()
    (warning,) = similarity.describe((11,)).warnings
    assert "say the same rightly share it (1 with them)" in warning
    assert "gamma" not in warning
    assert "WARNING: own-pair mass is below 0.1" in str(similarity.describe((11,)))


def multiply_adds(operator):
    """Count those of a product with one column, from the shapes of what the operator holds."""
    match operator:
        case ScaledSum():
            return sum(map(multiply_adds, operator.operators))
        case Factored():
            factors = operator.row_weights, operator.kernel, operator.column_weights
            return sum(map(multiply_adds, factors))
        case Dense() | RowBlocks():
            return math.prod(operator.shape)
        case Sparse():
            return len(operator.values)
        case Identity():
            return sum(operator.shape)
    raise AssertionError(type(operator))


PATHS = {
    "findings": ("findings", {"aggregation": "mean"}, SITES * 8),
    "findings with a floor": ("findings", {"aggregation": "mean", "own_floor": 0.5}, SITES * 8),
    "findings that hardly repeat": ("table", {"aggregation": "mean"}, [f"s{i}" for i in range(30)]),
    "table": ("table", {}, [*SITES * 5, None, "normal", "normal"]),
    "sparse": ("sparse", {"top_k": 2}, [*SITES * 5, "normal"]),
    "threshold": ("sparse", {"min_similarity": 0.5, "own_floor": 0.3}, SITES * 5),
}


@pytest.mark.parametrize("case", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predicted_cost_is_that_of_the_operator(case, dtype):
    path, options, sites = PATHS[case]
    similarity = SyntaxSimilarity(fuzzy("site"), **{"gamma": 1.0, **options})
    check_cost(similarity.fit(reports_of(*sites)), path, dtype)


def check_cost(similarity, path, dtype=torch.float32):
    operator = similarity.batch(dtype=dtype)
    (cost,) = similarity._subject().costs(torch.arange(len(similarity.index)), operator)
    if dtype == torch.float32:
        assert cost.nbytes == operator.nbytes
    assert cost.multiply_adds == cost.width * multiply_adds(operator)
    assert (cost.path, cost.reports) == (path, operator.shape[0])
    assert cost.dense_nbytes == Dense(torch.zeros(operator.shape)).nbytes
    return cost


@pytest.mark.parametrize("case", ["contents", "findings", "few contents"])
def test_predicted_cost_of_what_is_too_large_for_a_table(monkeypatch, case):
    for module in (paths, cost_module, row_blocks):
        monkeypatch.setattr(module, "LARGEST_TABLE", 8)
    if case == "few contents":
        cost = check_cost(by_site().fit(reports_of(*SITES * 4)), "table")
        assert not cost.recomputes
        return
    sites = [f"site {i}" for i in range(9)] * 2
    aggregation = "best" if case == "contents" else "mean"
    similarity = by_site(aggregation=aggregation).fit(reports_of(*sites))
    cost = check_cost(similarity, "row blocks" if case == "contents" else "findings")
    assert cost.recomputes
    text = str(similarity.describe((18,)))
    assert "each product computes the similarities again" in text
    assert ("suggestion: the cost grows with the square" in text) == (case == "contents")


def test_suggests_something_cheaper_where_there_is():
    (suggestion,) = by_site().fit(reports_of(*SITES)).describe((5,)).suggestions
    assert suggestion.endswith("top_k make it sparse, a semantic similarity is of low rank")
    (suggestion,) = by_site().fit(reports_of(*SITES * 2)).describe((10,)).suggestions
    assert suggestion.endswith("the plain mean (aggregation='mean', gamma=1) is factored")
    assert not by_site(top_k=1).fit(reports_of(*SITES)).describe((5,)).suggestions
    mean = by_site(aggregation="mean").fit(reports_of(*SITES * 2))
    assert not mean.describe((10,)).suggestions


def test_names_fields_that_get_no_table(monkeypatch):
    monkeypatch.setattr(table, "LARGEST_TABLE", 3)
    kernel = 0.5 * dice("site") + 0.5 * exact("signal")
    description = SyntaxSimilarity(kernel).fit(reports_of(*SITES)).describe((5,))
    assert description.corpora[0].without_table == ("dice('site') (5 values)",)
    assert "gets no table: scored per batch: dice('site') (5 values)" in str(description)
    assert "scored in each batch" in description.suggestions[-1]


def test_tells_no_id_unless_asked():
    similarity = by_site().fit(reports_of(*SITES, "pons", "normal"))
    silent, telling = similarity.describe((16,)), similarity.describe((16,), show_ids=True)
    for shown in (str, repr, lambda d: json.dumps(d.as_dict())):
        assert "patient" not in shown(silent)
        assert "pons" not in shown(telling)
        assert "patient-5" in shown(telling)
    assert telling.distribution.least_alike[0].ids == ("patient-0", "patient-5")


@pytest.mark.parametrize("count", [1, 2, 40])
def test_is_json_and_a_page(count):
    kinds = [by_site(), by_site(top_k=1), by_site(aggregation="mean"), SyntaxSimilarity()]
    mix = 0.25 * kinds[0] + 0.25 * kinds[1] + 0.5 * kinds[3]
    for similarity in (*kinds, mix):
        description = similarity.fit(reports_of(*(SITES * 8)[:count])).describe(samples=64)
        told = json.loads(json.dumps(description.as_dict(), allow_nan=False))
        assert told["reports"] == count
        assert (told["distribution"] is None) == (count == 1)
        lines = str(description).splitlines()
        assert len(lines) <= 40
        assert max(map(len, lines)) <= 120


def test_mixed_reports_say_the_same_if_they_do_so_to_each_part():
    reports = [
        Report(id=str(number), findings=[Finding(site=site, signal=signal)])
        for number, (site, signal) in enumerate([("pons", "high"), ("pons", "low")] * 2)
    ]
    site, signal = by_site(), SyntaxSimilarity(exact("signal"))
    mixed = (0.5 * site + 0.5 * signal).fit(reports).describe((4,))
    # rows of 1, 0.5, 1, 0.5
    assert mixed.batches[0].own_mass == pytest.approx(1 / 3)
    assert mixed.batches[0].same_mass == pytest.approx(2 / 3)
    assert mixed.similarity == "0.5 * SyntaxSimilarity + 0.5 * SyntaxSimilarity"
    assert [len(costs) for costs in mixed.costs] == [1, 1]


def test_semantic_similarity_is_described_too():
    def letters(texts):
        return torch.tensor([[float(text.count(letter)) for letter in "abc"] for text in texts])

    reports = [Report(id=str(i), text=text) for i, text in enumerate(["a", "b", "c", "a"])]
    description = SemanticSimilarity(letters).fit(reports).describe((4,))
    # orthogonal: 0.5; rows of 1, 0.5, 0.5, 1 and 0.5, 1, 0.5, 0.5
    expected = (2 / 3 + 1 / 2.5) / 2
    assert description.batches[0].same_mass == pytest.approx(expected)
    assert description.corpora == description.costs == ()
    assert "SemanticSimilarity of 4 reports" in str(description)


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="call fit"):
        by_site().describe()
    similarity = by_site().fit(reports_of(*SITES))
    with pytest.raises(ValueError, match=r"batch_sizes must be positive.*got \(0, 4\)"):
        similarity.describe((0, 4))
    with pytest.raises(ValueError, match="at least one, got"):
        similarity.describe(())
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        similarity.describe(samples=0)
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], got 2"):
        similarity.describe(threshold=2)
    with pytest.raises(ValueError, match="pairs must be at least 0, got -1"):
        similarity.describe(pairs=-1)
