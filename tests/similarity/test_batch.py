"""Fitting, extending and asking for batches, whatever the similarity."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selip_core.findings import Finding, Report
from selip_core.similarity import SemanticSimilarity, SyntaxSimilarity, dice, exact


def count_letters(texts):
    return torch.tensor([[1.0, *(text.count(letter) for letter in "aeiou")] for text in texts])


def make(name):
    syntax = SyntaxSimilarity(0.5 * exact("site") + 0.5 * dice("text"), gamma=2.0)
    return {
        "syntax": lambda: syntax,
        "paper": SyntaxSimilarity.paper,
        "semantic": lambda: SemanticSimilarity(count_letters),
        "mixed": lambda: 0.25 * syntax + 0.75 * SemanticSimilarity(count_letters),
    }[name]()


NAMES = ["syntax", "paper", "semantic", "mixed"]
FINDINGS = st.builds(
    Finding,
    site=st.sampled_from([None, "pons", "insula", "eye"]),
    signal=st.sampled_from([None, "high", "low"]),
    text=st.sampled_from([None, "bright", "dark spot", ""]),
    negated=st.booleans(),
)


@st.composite
def corpora(draw):
    """Reports with distinct ids: one that kernels can read, then abnormal, normal, unknown."""
    reports = [Report(id="first", findings=[Finding(site="eye", text="bright")], text="e")]
    for number in range(draw(st.integers(2, 8))):
        kind = draw(st.sampled_from(["findings", "normal", "unknown"]))
        found = draw(st.lists(FINDINGS, max_size=3)) if kind == "findings" else []
        text = draw(st.text("aeio ", max_size=4))
        reports.append(
            Report(id=str(number), findings=found, text=text, normal=kind == "normal" or None)
        )
    return reports


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(reports=corpora(), data=st.data())
def test_extending_is_fitting_all(name, reports, data):
    first = data.draw(st.integers(1, len(reports)))
    again = data.draw(st.integers(0, first))
    whole = make(name).fit(reports)
    extended = make(name).fit(reports[:first]).extend(reports[again:])
    assert extended.index.ids == whole.index.ids
    torch.testing.assert_close(
        extended.batch(dtype=torch.float64).dense(), whole.batch(dtype=torch.float64).dense()
    )


@pytest.fixture
def texts(reports):
    return [report.model_copy(update={"text": report.id}) for report in reports]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_reads_any_iterable_once(name, texts):
    fitted = make(name).fit(texts)
    streamed = make(name).fit(report for report in texts)
    assert torch.equal(fitted.batch().dense(), streamed.batch().dense())


def test_keeps_no_report(name, texts):
    kept = []

    def made():
        for report in texts:
            copy = report.model_copy()
            kept.append(weakref.ref(copy))
            yield copy

    similarity = make(name).fit(made())
    assert len(similarity.index) == len(kept) == len(texts)
    gc.collect()
    assert not any(report() for report in kept)


def test_positions_are_ids(name, texts):
    similarity = make(name).fit(texts)
    rows, columns = ["b", "a", "b"], ["normal 1", "c"]
    by_id = similarity.batch(rows, columns).dense()
    positions = [similarity.index.positions(ids, "ids") for ids in (rows, columns)]
    assert torch.equal(similarity.batch(*positions).dense(), by_id)
    everything = similarity.batch().select(*positions).dense()
    torch.testing.assert_close(everything, by_id)


def test_unknown_ids_are_shown_on_request_only(name, texts):
    similarity = make(name).fit(texts)
    with pytest.raises(ValueError, match=r"columns must hold .* at places \[1\]") as caught:
        similarity.batch(["a"], ["b", "accession 7"])
    assert "accession" not in str(caught.value)
    with pytest.raises(ValueError, match="accession 7"):
        similarity.batch(["a"], ["b", "accession 7"], show_ids=True)


def test_half_precision_is_refused(name, texts):
    with pytest.raises(ValueError, match=r"float32 or float64, got torch\.float16"):
        make(name).fit(texts).batch(dtype=torch.float16)


@pytest.mark.parametrize("method", ["fit", "extend"])
def test_failure_leaves_what_was_fitted(name, texts, method):
    similarity = make(name).fit(texts)
    before = similarity.batch().dense()

    def failing():
        yield Report(id="new", text="new", findings=[Finding(site="eye", text="new")])
        raise KeyboardInterrupt

    for wrong in (
        failing(),
        [Report(id="a", normal=True, text="other")],
        [Report(id="new", text="x"), "no report"],
        *([[]] if method == "fit" else []),
    ):
        with pytest.raises((ValueError, KeyboardInterrupt)):
            getattr(similarity, method)(
                [*texts, *wrong] if isinstance(wrong, list) and wrong else wrong
            )
        assert torch.equal(similarity.batch().dense(), before)


@pytest.mark.parametrize("method", ["fit", "extend"])
def test_mix_is_fitted_as_a_whole_or_not_at_all(texts, method):
    mix = make("mixed").fit(texts)
    before = mix.batch().dense()
    without_text = Report(id="new", findings=[Finding(site="eye")])
    with pytest.raises(ValueError, match="needs texts"):
        getattr(mix, method)([*texts, without_text])
    assert torch.equal(mix.batch().dense(), before)


def test_parts_that_were_fitted_apart_are_refused(texts):
    left, right = make("syntax").fit(texts), make("semantic").fit(texts[::-1])
    with pytest.raises(ValueError, match="same reports in the same order"):
        (0.5 * left + 0.5 * right).batch()


def test_nothing_fitted(name):
    for ask in (lambda s: s.batch(), lambda s: s.extend([]), lambda s: s.gather_positions([])):
        with pytest.raises(ValueError, match="not fitted"):
            ask(make(name))


def test_progress_is_shown_on_standard_error(name, texts, capsys):
    make(name).fit(texts, progress=True)
    shown = capsys.readouterr()
    assert "report" in shown.err
    assert shown.out == ""
