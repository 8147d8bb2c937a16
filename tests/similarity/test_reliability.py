"""Whatever JSON a user brings: any schema, any kernel, odd values, very large reports."""

import math
import statistics
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from rapidfuzz import fuzz
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from selip_core.findings import Finding, Report, parse_paper_text
from selip_core.similarity import FindingKernel, SyntaxSimilarity, dice, exact, fuzzy

MISSING = ("equal", "nothing", "neutral", "leave_out")
# Names of methods and of nothing, of several scripts, and the one that the library knows best.
NAMES = st.sampled_from(["site", "value", "copy", "size mm", "大小", "a.b", "🧠", "حجم", "json"])
# An accented letter, and a letter with an accent; right to left; two characters in a row.
WORDS = ["pons", "PONS", "pontine", "桥脑", "脑桥", "🧠🩻", "\u00e9", "e\u0301", "جسر", "", " "]
TEXTS = st.sampled_from(WORDS) | st.text(max_size=6)
JSON = TEXTS | st.integers(0, 9) | st.floats(0, 2, width=16) | st.booleans() | st.none()
ODD = JSON | st.lists(JSON, max_size=2) | st.dictionaries(st.sampled_from("ab"), JSON, max_size=2)


@dataclass(frozen=True)
class Plain:
    """A kernel of the library, and what it stands for, written without it."""

    kernel: FindingKernel
    value: object
    largest: float


def leaf(kernel, field, missing, different):
    worth = {"nothing": 0.0, "neutral": 1.0, "leave_out": None}

    def value(f, g):
        a, b = f.value(field), g.value(field)
        if a is None or b is None:
            return worth.get(missing, float(a is b))
        return 1.0 if a == b else different(a, b)

    return Plain(kernel, value, 1.0)


def exact_leaf(field, missing):
    return leaf(exact(field, missing=missing), field, missing, lambda a, b: 0.0)


def dice_leaf(field, missing, ngram):
    def grams(text):
        return {text[i : i + ngram] for i in range(len(text) - ngram + 1)}

    def different(a, b):
        sizes = len(grams(a)) + len(grams(b))
        return 2 * len(grams(a) & grams(b)) / sizes if sizes else 0.0

    return leaf(dice(field, ngram, missing=missing), field, missing, different)


def fuzzy_leaf(field, missing, scorer):
    def different(a, b):
        score = getattr(fuzz, scorer)
        return (score(a, b) + score(b, a)) / 200

    return leaf(fuzzy(field, scorer, missing=missing), field, missing, different)


def plain_sum(parts):
    largest = math.fsum(part.largest for part in parts)

    def value(f, g):
        values = [(part.value(f, g), part.largest) for part in parts]
        known = sum(most for found, most in values if found is not None)
        total = sum(found for found, _ in values if found is not None)
        return total * largest / known if known else 0.0

    kernel = parts[0].kernel
    for part in parts[1:]:
        kernel = kernel + part.kernel
    return Plain(kernel, value, largest)


def plain_product(left, right):
    def value(f, g):
        a, b = left.value(f, g), right.value(f, g)
        if a is None and b is None:
            return None
        return (left.largest if a is None else a) * (right.largest if b is None else b)

    return Plain(left.kernel * right.kernel, value, left.largest * right.largest)


def plain_scaled(scale, part):
    def value(f, g):
        found = part.value(f, g)
        return None if found is None else scale * found

    return Plain(scale * part.kernel, value, scale * part.largest)


def plain_power(part, gamma):
    def value(f, g):
        found = part.value(f, g)
        return None if found is None else found**gamma

    return Plain(part.kernel**gamma, value, part.largest**gamma)


def kernels(fields):
    field, missing = st.sampled_from(fields), st.sampled_from(MISSING)
    leaves = st.one_of(
        st.builds(exact_leaf, field, missing),
        st.builds(dice_leaf, field, missing, st.integers(1, 2)),
        st.builds(fuzzy_leaf, field, missing, st.sampled_from(["ratio", "token_set_ratio"])),
    )

    def composed(parts):
        scaled = st.builds(plain_scaled, st.sampled_from([0.25, 0.5]), parts)
        return st.one_of(
            st.builds(plain_sum, st.lists(scaled, min_size=2, max_size=2)),
            st.builds(plain_product, parts, parts),
            st.builds(plain_power, parts, st.sampled_from([0.5, 2.0])),
        )

    return st.recursive(leaves, composed, max_leaves=4)


def finding_of(fields):
    """Declared fields hold strings; any other holds any JSON."""
    values = {field: TEXTS | st.none() if field == "site" else ODD for field in fields}
    return st.fixed_dictionaries({}, optional={**values, "negated": st.booleans()}).map(
        lambda chosen: Finding(**chosen)
    )


@dataclass(frozen=True)
class Case:
    fields: tuple[str, ...]
    plain: Plain
    reports: tuple[Report, ...]
    settings: dict[str, object]


@st.composite
def cases(draw, **fixed):
    fields = tuple(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)))
    findings = draw(st.lists(finding_of(fields), min_size=1, max_size=6))
    telling = st.lists(st.sampled_from(findings), max_size=4)
    contents = draw(st.lists(telling | st.none(), min_size=1, max_size=6))
    reports = tuple(
        Report(id=f"{i}", normal=True) if content is None else Report(id=f"{i}", findings=content)
        for i, content in enumerate(contents)
    )
    chosen = {
        "aggregation": draw(st.sampled_from(["mean", "best"])),
        "gamma": draw(st.sampled_from([0.5, 1.0, 3.0])),
        "min_similarity": draw(st.sampled_from([0.0, 0.31415926])),
        "equal": draw(st.sampled_from(["one", "aggregate"])),
        "normal": draw(st.sampled_from(["alike", "paper"])),
        "negated": draw(st.sampled_from(["apart", "ignored"])),
        **{name: draw(values) for name, values in fixed.items()},
    }
    return Case(fields, draw(kernels(fields)), reports, chosen)


def fit(case, reports=None, **more):
    similarity = SyntaxSimilarity(case.plain.kernel, **{**case.settings, **more})
    return similarity.fit(case.reports if reports is None else reports)


def says_nothing(case):
    """Whether no finding has a field that the kernel reads; that is refused."""
    found = [f for report in case.reports for f in report.findings]
    others = any(f.model_dump(exclude_none=True, exclude={"negated"}) for f in found)
    return others and not telling(case, found)


def telling(case, findings):
    read = case.plain.kernel.fields
    return [f for f in findings if any(f.value(field) is not None for field in read)]


def by_definition(case, a, b):
    chosen = case.settings
    if a.id == b.id:
        return 1.0
    if a.normal or b.normal:
        return float(bool(a.normal and b.normal and chosen["normal"] == "alike"))
    left, right = telling(case, a.findings), telling(case, b.findings)
    if not left or not right:
        return 0.0
    if chosen["equal"] == "one" and content(case, left) == content(case, right):
        return 1.0
    value = aggregate(case, left, right) ** chosen["gamma"]
    return value if value >= chosen["min_similarity"] else 0.0


def content(case, findings):
    read = [*case.plain.kernel.fields, *(["negated"] * (case.settings["negated"] == "apart"))]
    return sorted(repr([f.value(field) for field in read]) for f in findings)


def aggregate(case, left, right):
    def kernel(f, g):
        if case.settings["negated"] == "apart" and f.negated != g.negated:
            return 0.0
        return case.plain.value(f, g) or 0.0

    if case.settings["aggregation"] == "mean":
        return statistics.fmean(kernel(f, g) for f in left for g in right)
    forth = statistics.fmean(max(kernel(f, g) for g in right) for f in left)
    back = statistics.fmean(max(kernel(f, g) for f in left) for g in right)
    return (forth + back) / 2


@given(case=cases())
def test_any_kernel_on_any_schema_equals_its_definition(case):
    if says_nothing(case):
        with pytest.raises(ValueError, match="no finding has a field that the kernel reads"):
            fit(case)
        return
    expected = [[by_definition(case, a, b) for b in case.reports] for a in case.reports]
    expected = torch.tensor(expected, dtype=torch.float64)
    for dtype, atol in ((torch.float64, 1e-6), (torch.float32, 1e-5)):
        table = fit(case).batch(dtype=dtype)
        torch.testing.assert_close(table.dense().double(), expected, rtol=0, atol=atol)


SHAPED = {
    "top_k": st.none() | st.integers(1, 3),
    "own_floor": st.sampled_from([0.0, 0.5, 0.9]),
}


@given(case=cases(**SHAPED), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_is_symmetric_in_zero_to_one_and_1_for_itself(case, dtype):
    assume(not says_nothing(case))
    table = fit(case).batch(dtype=dtype).dense()
    torch.testing.assert_close(table, table.T)
    assert bool(((table >= 0) & (table <= 1 + 1e-6)).all())
    torch.testing.assert_close(table.diag(), torch.ones(len(case.reports), dtype=dtype))


@given(case=cases(own_floor=SHAPED["own_floor"]), seed=st.randoms(use_true_random=False))
def test_the_order_of_findings_and_reports_does_not_matter(case, seed):
    assume(not says_nothing(case))
    order = seed.sample(range(len(case.reports)), len(case.reports))
    turned = [
        case.reports[i].model_copy(
            update={
                "findings": seed.sample(case.reports[i].findings, len(case.reports[i].findings))
            }
        )
        for i in order
    ]
    table = fit(case).batch(dtype=torch.float64).dense()
    again = fit(case, turned).batch(dtype=torch.float64).dense()
    torch.testing.assert_close(again, table[order][:, order])


@given(case=cases(aggregation=st.just("best"), equal=st.just("aggregate")), data=st.data())
def test_what_both_say_never_makes_them_less_alike(case, data):
    """With ``k(f, f) = 1``, a finding that both reports have is each one's best match."""
    found = [f for report in case.reports for f in report.findings]
    assume(telling(case, found))
    shared = data.draw(st.sampled_from(telling(case, found)))
    assume(case.plain.value(shared, shared) == 1)
    abnormal = [report for report in case.reports if not report.normal]
    more = [
        Report(id=f"{report.id} and more", findings=[*report.findings, shared])
        for report in abnormal
    ]
    table = fit(case, [*abnormal, *more]).batch(dtype=torch.float64).dense()
    before, after = table.split(len(abnormal))[0], table[len(abnormal) :]
    assert bool((after[:, len(abnormal) :] >= before[:, : len(abnormal)] - 1e-9).all())


@pytest.mark.parametrize("loop", ["plain_similarity", "paper_similarity"])
def test_the_double_loops_are_the_reference(golden, double_loop, loop):
    for case in golden["cases"]:
        reports = [
            parse_paper_text(text, has_modality=case["have_modal"], id=str(place))
            for place, text in enumerate(case["texts"])
        ]
        table = getattr(double_loop, loop)(reports, *case["weight"])
        actual, expected = torch.tensor([table, case["similarity"]], dtype=torch.float64)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


KERNEL = 0.5 * exact("site") + 0.3 * dice("text") + 0.2 * fuzzy("text")


@pytest.mark.parametrize(
    "words", ["🧠" * 5, "جسر فارول", "e\u0301\u0323", "T1 桥脑 γ", "", "\u200f", "\x00"]
)
def test_words_of_any_script_are_like_themselves_and_unlike_others(words):
    reports = [
        Report(id="a", findings=[Finding(site="pons", text=words)]),
        Report(id="b", findings=[Finding(site="pons", text=words)]),
        Report(id="c", findings=[Finding(site="insula", text=f"{words} and more")]),
    ]
    table = SyntaxSimilarity(KERNEL, equal="aggregate", gamma=1).fit(reports).batch().dense()
    assert table[0, 1] == 1
    assert 0 <= table[0, 2] < 0.5


def test_a_megabyte_of_words():
    long = "左侧额叶 high signal " * 60_000
    texts = {"a": long, "b": long + "桥", "c": "左侧额叶"}
    assert len(long.encode()) > 1e6
    kernel = 0.5 * dice("text", ngram=2) + 0.5 * exact("text")
    reports = [Report(id=id, findings=[Finding(text=text)]) for id, text in texts.items()]
    row = SyntaxSimilarity(kernel, gamma=1).fit(reports).batch().dense()[0]
    pairs = len({long[i : i + 2] for i in range(len(long) - 1)})
    expected = [1, pairs / (2 * pairs + 1), 3 / (pairs + 3)]
    torch.testing.assert_close(row, torch.tensor(expected))


class LargestTensor(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation gives."""

    nbytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.nbytes for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.nbytes = max(self.nbytes, *sizes, 0)
        return result


def test_ten_thousand_findings_in_one_report():
    count = 10_000
    many = [Finding(site=f"site {i % 100}", signal=f"signal {i}") for i in range(count)]
    reports = [
        Report(id="many", findings=many),
        Report(id="one", findings=many[:1]),
        Report(id="other", findings=[Finding(site="site 0", signal="none")]),
    ]
    kernel = 0.5 * exact("site") + 0.5 * exact("signal")
    with LargestTensor() as largest:
        similarity = SyntaxSimilarity(kernel, gamma=1).fit(reports)
        row = similarity.batch(dtype=torch.float64).dense()[0]
    # A hundred of the findings have the site, and one of these the signal too.
    forth = torch.tensor([1, 50.5 / count, 50 / count], dtype=torch.float64)
    back = torch.tensor([1, 1, 0.5], dtype=torch.float64)
    torch.testing.assert_close(row, (forth + back) / 2)
    assert largest.nbytes < 1e8


@pytest.mark.slow
def test_a_million_equal_reports():
    count = 1_000_000
    findings = (Finding(site="pons", signal="high"),)
    reports = (Report.model_construct(id=f"{i}", findings=findings) for i in range(count))
    similarity = SyntaxSimilarity(exact("site")).fit(reports)
    whole = similarity.batch()
    assert whole.shape == (count, count)
    ends = torch.tensor([0, count - 1])
    assert bool((whole.select(ends, ends).dense() == 1).all())
    assert bool((whole.row_sums() == count).all())


@pytest.mark.parametrize("settings", [{}, {"aggregation": "mean", "gamma": 1.0}, {"top_k": 4}])
def test_no_table_of_findings_squared(settings):
    distinct = 30_000
    findings = [Finding(site=f"site {i}", signal=f"signal {i % 7}") for i in range(distinct)]
    reports = [
        Report.model_construct(id=f"{i}", findings=(findings[i % distinct], findings[i % 11]))
        for i in range(distinct if settings.get("top_k") else 3 * distinct)
    ]
    with LargestTensor() as largest:
        similarity = SyntaxSimilarity(**settings).fit(reports)
        if "top_k" not in settings:  # which looks at every pair of reports, in tiles
            whole = similarity.batch()
            whole.tile(slice(0, 8), slice(None))
            half = whole.select(torch.arange(4000), torch.arange(4000))
            assert half.row_sums().isfinite().all()
        similarity.batch([f"{i}" for i in range(2000)]).row_sums()
    assert largest.nbytes < distinct**2 / 8
