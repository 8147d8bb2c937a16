import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selip_core.findings import Finding, Report
from selip_core.similarity import SemanticSimilarity, SyntaxSimilarity, dice, exact
from selip_core.similarity import explain as explain_module

KERNEL = (0.5 * exact("site") + 0.5 * exact("signal", missing="leave_out")) * dice("site")
VALUES = st.sampled_from([None, "", "pons", "insula", "pontine"])
FINDINGS = st.lists(st.builds(Finding, site=VALUES, signal=VALUES), max_size=4)
CONTENTS = st.tuples(FINDINGS, st.booleans())
OPTIONS = st.fixed_dictionaries(
    {
        "aggregation": st.sampled_from(["mean", "best"]),
        "gamma": st.sampled_from([1.0, 3.0]),
        "min_similarity": st.sampled_from([0.0, 0.2]),
        "top_k": st.sampled_from([None, 1]),
        "own_floor": st.sampled_from([0.0, 0.5]),
        "equal": st.sampled_from(["one", "aggregate"]),
        "normal": st.sampled_from(["alike", "paper"]),
        "negated": st.sampled_from(["apart", "ignored"]),
    }
)


@settings(deadline=None, max_examples=25)
@given(contents=st.lists(CONTENTS, min_size=2, max_size=3), options=OPTIONS)
def test_ends_at_the_value_of_the_batch(contents, options):
    reports = [
        Report(id=f"patient-{i}", findings=() if normal else findings, normal=normal)
        for i, (findings, normal) in enumerate(contents)
    ]
    similarity = SyntaxSimilarity(KERNEL, **options).fit(reports)
    for a in reports:
        for b in reports:
            explanation = similarity.explain(a.id, b.id)
            value = similarity.batch([a.id], [b.id], dtype=torch.float64).dense()
            assert explanation.value == pytest.approx(float(value), abs=1e-12)
            assert json.loads(json.dumps(explanation.as_dict(), allow_nan=False))
            assert "patient" not in str(explanation) + repr(explanation)
            check_steps(explanation)


def check_steps(explanation):
    """Whoever follows what is told arrives at the value."""
    if explanation.reason in ("equal ids", "equal contents"):
        assert explanation.value == 1
    elif explanation.reason in ("one normal", "unknown"):
        assert explanation.value == 0
    elif explanation.reason == "contents":
        powered = explanation.aggregate**explanation.gamma
        kept = powered if powered >= explanation.min_similarity else 0
        assert explanation.value == pytest.approx(kept, abs=1e-12)
    if not explanation.matches:
        return
    table = {(match.a, match.b): match.similarity for match in explanation.matches}
    rows, columns = {a for a, _ in table}, {b for _, b in table}
    best_of_a = {m.a: m.similarity for m in explanation.matches if m.best_of_a}
    best_of_b = {m.b: m.similarity for m in explanation.matches if m.best_of_b}
    assert best_of_a == {a: max(table[a, b] for b in columns) for a in rows}
    assert best_of_b == {b: max(table[a, b] for a in rows) for b in columns}
    forth, back = (sum(best.values()) / len(best) for best in (best_of_a, best_of_b))
    assert (explanation.a_in_b, explanation.b_in_a) == pytest.approx((forth, back))
    mean = sum(table.values()) / len(table)
    aggregates = {"best": (forth + back) / 2, "mean": mean}
    assert explanation.aggregate == pytest.approx(aggregates[explanation.aggregation])


@pytest.fixture
def pair():
    return [
        Report(
            id="patient-1",
            findings=[Finding(site="pons", signal="high"), Finding(site="insula", signal="low")],
        ),
        Report(id="patient-2", findings=[Finding(site="pons", signal="low")]),
    ]


def test_by_hand(pair):
    kernel = 0.75 * exact("site") + 0.25 * exact("signal")
    similarity = SyntaxSimilarity(kernel, gamma=2.0, min_similarity=0.5, own_floor=0.1, top_k=3)
    explanation = similarity.fit(pair).explain("patient-1", "patient-2")
    # a1-b1 0.75, a2-b1 0.25: ((0.75 + 0.25) / 2 + 0.75) / 2
    assert str(explanation).splitlines() == [
        "similarity 0: from the findings",
        "best matches: of a in b 0.5, of b in a 0.75, averaged 0.625",
        "to the power 2: 0.391",
        "min_similarity 0.5: becomes 0",
        "top_k = 3 depends on the batch and is not applied",
        "own_floor = 0.1 depends on the batch and is not applied",
        "pairs of findings by exact('negated') * (0.75 * exact('site') + 0.25 * exact('signal')):",
        "  a1 and b1: 0.75, the best of a1 and b1",
        "    exact('negated'): 'false' and 'false': 1",
        "    exact('site'): 'pons' and 'pons': 1",
        "    exact('signal'): 'high' and 'low': 0",
        "  a2 and b1: 0.25, the best of a2",
        "    exact('negated'): 'false' and 'false': 1",
        "    exact('site'): 'insula' and 'pons': 0",
        "    exact('signal'): 'low' and 'low': 1",
    ]
    mean = SyntaxSimilarity(kernel, aggregation="mean", gamma=1.0).fit(pair)
    lines = str(mean.explain("patient-1", "patient-2")).splitlines()
    assert lines[:2] == [
        "similarity 0.5: from the findings",
        "mean over all pairs of findings: 0.5",
    ]


def test_missing_values_are_told():
    kernel = 0.5 * exact("site", missing="leave_out") + 0.5 * exact("signal")
    reports = [
        Report(id="1", findings=[Finding(signal="high")]),
        Report(id="2", findings=[Finding(site="pons", signal="high")]),
    ]
    explanation = SyntaxSimilarity(kernel, negated="ignored").fit(reports).explain("1", "2")
    site, signal = explanation.matches[0].fields
    assert (site.a, site.b, site.similarity) == (None, "pons", None)
    assert signal.similarity == 1
    assert "missing and 'pons': left out" in str(explanation)


def test_policies_by_their_words(fitted):
    def decision(a, b):
        return str(fitted.explain(a, b)).splitlines()[0]

    assert decision("a", "a") == "similarity 1: the ids are equal"
    same = "similarity 1: the reports have the same findings, which counts as 1"
    assert decision("a", "b") == same
    assert "(not what decides)" in str(fitted.explain("a", "b"))
    both = "similarity 1: both reports are normal, which counts as 1"
    assert decision("normal 1", "normal 2") == both
    one = "similarity 0: one report is normal and the other is not"
    assert decision("a", "normal 1") == decision("normal 1", "unknown 1") == one
    unknown = "similarity 0: a report has no findings and is not declared normal"
    assert decision("unknown 1", "unknown 2") == decision("a", "unknown 1") == unknown


def test_long_reports_and_values_are_cut_in_the_text(monkeypatch):
    findings = [Finding(site=f"site {i} " + "x" * 1000) for i in range(5)]
    reports = [Report(id="1", findings=findings), Report(id="2", findings=findings[1:])]
    similarity = SyntaxSimilarity(exact("site")).fit(reports)
    whole = similarity.explain("1", "2")
    assert len(whole.matches) == 20
    assert whole.matches[0].fields[1].a.endswith("xxx")
    assert max(map(len, str(whole).splitlines())) < 160
    assert str(whole).splitlines()[-1] == "  and 10 more"
    monkeypatch.setattr(explain_module, "MOST_MATCHES", 6)
    cut = similarity.explain("1", "2")
    assert (len(cut.matches), cut.left_out) == (6, 14)
    assert cut.value == whole.value
    # 4 pairs that are the best of both, and one of a's without a match
    assert all(match.best_of_a for match in cut.matches[:5])


def test_a_mix_explains_its_parts(pair):
    mixed = 0.25 * SyntaxSimilarity(exact("site")) + 0.5 * SyntaxSimilarity(exact("signal"))
    explanation = mixed.fit(pair).explain("patient-1", "patient-2")
    expected = float(mixed.batch(["patient-1"], ["patient-2"], dtype=torch.float64).dense())
    assert explanation.value == pytest.approx(expected, abs=1e-12)
    assert explanation.scales == (0.25, 0.5)
    assert [part["reason"] for part in explanation.as_dict()["parts"]] == ["contents"] * 2
    lines = str(explanation).splitlines()
    assert lines[0].endswith("= 0.25 * 0.1 + 0.5 * 0.1")
    assert lines[1] == "0.25 * similarity 0.1: from the findings"


def letters(texts):
    return torch.tensor([[1.0 + text.count(letter) for letter in "abc"] for text in texts])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gamma": 3.0, "own_floor": 0.5},
        {"mapping": "clip", "min_similarity": 0.9},
        {"mapping": "exp", "temperature": 0.2, "gamma": 2.0},
        {"mapping": "exp", "top_k": 1},
        {"of": "{site}"},
        {"of": "{site}", "pooling": "mean", "gamma": 2.0},
    ],
)
def test_of_meaning_ends_at_the_value_of_the_batch(options):
    findings = [[Finding(site="aab")], [Finding(site="c")], [Finding(site="c")], []]
    reports = [
        Report(id=f"patient-{i}", text="abc"[i:] or "a", findings=found)
        for i, found in enumerate(findings)
    ]
    reports += [Report(id=f"patient-{i}", text="b", normal=True) for i in (4, 5)]
    similarity = SemanticSimilarity(letters, **options).fit(reports)
    for a in reports:
        for b in reports:
            explanation = similarity.explain(a.id, b.id)
            value = similarity.batch([a.id], [b.id], dtype=torch.float64).dense()
            assert explanation.value == pytest.approx(float(value), abs=1e-12)
            assert json.loads(json.dumps(explanation.as_dict(), allow_nan=False))
            assert "patient" not in str(explanation) + repr(explanation)


def test_of_meaning_by_its_words():
    reports = [Report(id="1", text="aab"), Report(id="2", text="c"), Report(id="3", text="c")]
    options = {"mapping": "exp", "temperature": 0.5, "gamma": 2.0, "min_similarity": 0.9}
    similarity = SemanticSimilarity(letters, **options).fit(reports)
    # (3, 2, 1) and (1, 1, 2): cosine 7 / sqrt(84)
    assert str(similarity.explain("1", "2")).splitlines() == [
        "similarity 0: from the words",
        "cosine of the embeddings 0.764, exp((cos - 1) / 0.5): 0.623",
        "to the power 2: 0.389",
        "min_similarity 0.9: becomes 0",
    ]
    same = str(similarity.explain("2", "3")).splitlines()[0]
    assert same == "similarity 1: the reports have the same words, which counts as 1"


def test_unknown_ids_are_refused_without_their_value(fitted):
    with pytest.raises(ValueError, match=r"b must hold ids of fitted reports") as caught:
        fitted.explain("a", "patient 007")
    assert "007" not in str(caught.value)
    with pytest.raises(ValueError, match="007"):
        fitted.explain("a", "patient 007", show_ids=True)
    with pytest.raises(ValueError, match="call fit"):
        SyntaxSimilarity().explain("a", "b")
