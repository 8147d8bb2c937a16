"""Against the reference implementation, and against the definition written as loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selip_core.findings import PAPER_NORMAL_TEXT, Finding, Report, parse_paper_text
from selip_core.similarity import SyntaxSimilarity, dice, exact

KERNEL = (0.5 * exact("site") + 0.5 * exact("signal")) * dice("site")


def kernel_of(f, g):
    def same(field):
        return float(f.value(field) == g.value(field))

    def characters(field):
        a, b = f.value(field), g.value(field)
        if a == b:
            return 1.0
        if a is None or b is None:
            return 0.0
        return 2 * len(set(a) & set(b)) / (len(set(a)) + len(set(b)))

    return (0.5 * same("site") + 0.5 * same("signal")) * characters("site")


def mean_of(a, b):
    return sum(kernel_of(f, g) for f in a for g in b) / (len(a) * len(b))


def best_of(a, b):
    forth = sum(max(kernel_of(f, g) for g in b) for f in a) / len(a)
    back = sum(max(kernel_of(f, g) for f in a) for g in b) / len(b)
    return (forth + back) / 2


def content(report):
    return sorted(
        str((finding.value("site"), finding.value("signal"))) for finding in telling(report)
    )


def telling(report):
    return [f for f in report.findings if f.site is not None or f.signal is not None]


def by_definition(a, b, settings):
    if a.id == b.id:
        return 1.0
    if a.normal or b.normal:
        return float(bool(a.normal and b.normal and settings["normal"] == "alike"))
    if not telling(a) or not telling(b):
        return 0.0
    if settings["equal"] == "one" and content(a) == content(b):
        return 1.0
    aggregate = {"mean": mean_of, "best": best_of}[settings["aggregation"]]
    return aggregate(telling(a), telling(b)) ** settings["gamma"]


VALUES = st.sampled_from([None, "", "pons", "insula", "pontine"])
FINDINGS = st.lists(st.builds(Finding, site=VALUES, signal=VALUES), max_size=4)
CONTENTS = st.tuples(FINDINGS, st.booleans())
SETTINGS = st.fixed_dictionaries(
    {
        "aggregation": st.sampled_from(["mean", "best"]),
        "gamma": st.sampled_from([1.0, 3.0]),
        "equal": st.sampled_from(["one", "aggregate"]),
        "normal": st.sampled_from(["alike", "paper"]),
    }
)


@given(contents=st.lists(CONTENTS, min_size=1, max_size=8), settings=SETTINGS, data=st.data())
def test_equals_its_definition(contents, settings, data):
    reports = [
        Report(id=str(i), findings=() if normal else findings, normal=normal)
        for i, (findings, normal) in enumerate(contents)
    ]
    ids = st.lists(st.sampled_from(reports), min_size=1, max_size=10)
    rows, columns = data.draw(ids), data.draw(ids)
    operator = (
        SyntaxSimilarity(KERNEL, **settings)
        .fit(reports)
        .batch([r.id for r in rows], [c.id for c in columns], dtype=torch.float64)
    )
    expected = torch.tensor(
        [[by_definition(a, b, settings) for b in columns] for a in rows], dtype=torch.float64
    )
    torch.testing.assert_close(operator.dense(), expected)
    x = torch.ones(len(columns), 2, dtype=torch.float64)
    torch.testing.assert_close(operator.matmul(x), expected @ x)


def paper_similarity(case, weight, has_modality, normal_text):
    reports = [
        parse_paper_text(text, has_modality=has_modality, normal_text=normal_text, id=str(i))
        for i, text in enumerate(case["texts"])
    ]
    similarity = SyntaxSimilarity.paper(site_weight=weight[0], signal_weight=weight[1])
    return similarity.fit(reports).batch(dtype=torch.float64).dense()


def test_paper_equals_the_reference(golden):
    assert len(golden["cases"]) == 16
    for case in golden["cases"]:
        actual = paper_similarity(case, case["weight"], case["have_modal"], PAPER_NORMAL_TEXT)
        expected = torch.tensor(case["similarity"], dtype=torch.float64)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10, msg=case["id"])


def test_paper_equals_the_reference_on_edge_cases(golden):
    assert len(golden["edge_cases"]) == 6
    for case in golden["edge_cases"]:
        settings = case["kwargs"]
        actual = paper_similarity(
            case,
            settings.get("weight", [0.5, 0.5]),
            settings.get("have_modal", False),
            settings.get("healthy", PAPER_NORMAL_TEXT),
        )
        expected = torch.tensor(case["similarity"], dtype=torch.float64)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10, msg=case["note"])


def test_default_by_hand():
    def report(id, **fields):
        return Report(id=id, findings=[Finding(**fields)])

    reports = [
        report("a", site="pons", signal="high"),
        report("other signal", site="pons", signal="low"),
        report("negated", site="pons", signal="high", negated=True),
        report("same", site="pons", signal="high"),
    ]
    row = SyntaxSimilarity().fit(reports).batch(["a"], [r.id for r in reports]).dense()
    # site 0.4 and side 0.2 agree, to the power 8
    torch.testing.assert_close(row, torch.tensor([[1.0, 0.6**8, 0.0, 1.0]]))


def test_own_place_belongs_to_equal_ids_wherever_they_stand(fitted):
    block = fitted.batch(["a", "f", "unknown 1"], ["unknown 1", "a"]).dense()
    assert block[0, 1] == 1
    assert block[2, 0] == 1
    assert block[1].max() < 1
    chosen = fitted.batch().select(torch.tensor([0, 8]), torch.tensor([8, 0])).dense()
    torch.testing.assert_close(chosen, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


@pytest.mark.parametrize("settings", [{}, {"aggregation": "mean", "gamma": 1.0}])
def test_autocast_does_not_reach_inside(reports, settings):
    similarity = SyntaxSimilarity(KERNEL, **settings)
    expected = similarity.fit(reports).batch().dense()
    x = torch.randn(len(reports), 3)
    product = similarity.batch().matmul(x)
    with torch.autocast("cpu", torch.bfloat16):
        operator = similarity.fit(reports).batch()
        torch.testing.assert_close(operator.dense(), expected, rtol=0, atol=0)
        torch.testing.assert_close(operator.matmul(x), product, rtol=0, atol=0)


def test_order_of_findings_and_reports_does_not_matter(reports):
    forward = SyntaxSimilarity().fit(reports).batch().dense()
    turned = [
        report.model_copy(update={"findings": report.findings[::-1]}) for report in reports[::-1]
    ]
    backward = SyntaxSimilarity().fit(turned).batch().dense().flip(0, 1)
    torch.testing.assert_close(forward, backward)


def test_mean_is_factored_where_findings_repeat_and_a_table_where_not():
    def report(i, sites):
        return Report(id=str(i), findings=[Finding(site=f"site {i % sites}")])

    similarity = SyntaxSimilarity(exact("site"), aggregation="mean", gamma=1)
    repeated, _ = similarity.fit([report(i, 4) for i in range(16)]).batch().operators
    assert repeated.kernel.shape == (4, 4)
    assert repeated.row_weights.values.tolist() == [1.0] * 16
    table, _ = similarity.fit([report(i, 16) for i in range(16)]).batch().operators
    assert table.kernel.shape == (16, 16)


def test_unknown_ids_are_told_by_place_and_not_by_value(fitted):
    with pytest.raises(ValueError, match=r"1 of 2 are not, at places \[1\]") as caught:
        fitted.batch(["a", "patient 007"])
    assert "007" not in str(caught.value)


def test_findings_without_the_fields_of_the_kernel_are_told_and_never_alike():
    foreign = [
        Report(id="a", findings=[Finding(location="pons", size="3 mm")]),
        Report(id="b", findings=[Finding(location="insula", size="9 mm")]),
    ]
    message = r"reads \['negated', 'site', .*, the findings have \['location', 'size'\]"
    with pytest.raises(ValueError, match=message):
        SyntaxSimilarity().fit(foreign)
    known = Report(id="c", findings=[Finding(site="pons")])
    similarity = SyntaxSimilarity().fit([*foreign, known]).batch().dense()
    torch.testing.assert_close(similarity, torch.eye(3))


def test_misuse_is_refused(reports):
    with pytest.raises(ValueError, match="call fit"):
        SyntaxSimilarity().batch()
    with pytest.raises(ValueError, match="at least one report"):
        SyntaxSimilarity().fit([])
    with pytest.raises(ValueError, match=r"different ids.*positions \[10\]"):
        SyntaxSimilarity().fit([*reports, Report(id="a")])
    with pytest.raises(ValueError, match="sum to at most 1, got 2"):
        SyntaxSimilarity(exact("site") + exact("signal"))
    with pytest.raises(ValueError, match=r"kernel must be a finding kernel.*got function"):
        SyntaxSimilarity(lambda a, b: 1.0)
    with pytest.raises(ValueError, match="Report objects, got dict at position 1"):
        SyntaxSimilarity().fit([reports[0], {"id": "x"}])
    with pytest.raises(ValueError, match="gamma must be finite and positive"):
        SyntaxSimilarity(gamma=0)
    with pytest.raises(ValueError, match=r"aggregation must be one of .*got 'sum'"):
        SyntaxSimilarity(aggregation="sum")
