"""Kernels of sizes, grades, synonyms and meanings."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selip_core import Finding, Report, SyntaxSimilarity
from selip_core.similarity import closeness, embedding, exact, ordered, synonyms
from selip_core.similarity.kernels.quantities import read_quantity


def block(kernel, values, dtype=torch.float64):
    codes = torch.arange(len(values), dtype=torch.int32)
    return kernel.compare(kernel.read(values), codes[:, None], codes[None, :], dtype)


def pair(kernel, a, b):
    return block(kernel, [a, b])[0, 1].item() if a != b else 1.0


def letters(texts):
    return torch.tensor([[1.0, *(text.count(letter) for letter in "abcde")] for text in texts])


KERNELS = [
    closeness("x", 3.0),
    closeness("x", "0.3 cm"),
    ordered("x", ["1", "2 mm", "3"]),
    synonyms("x", [["1", "2 mm"], ["3", "small"]]),
    embedding("x", letters),
]
NUMBERS = st.decimals(0, 2000, places=2, allow_nan=False).map(str)
VALUES = st.one_of(
    st.builds("{}{}".format, NUMBERS, st.sampled_from(["", " mm", "cm", " ml", "cm2"])),
    st.sampled_from(["1", "2 mm", "3", "small", "", "3-5 mm", "12 x 8 mm", "😀", "1,500"]),
    st.text(max_size=8),
)


@pytest.mark.parametrize("kernel", KERNELS, ids=["mm", "cm", "ordered", "synonyms", "embedding"])
@settings(max_examples=60)
@given(values=st.lists(VALUES, min_size=1, max_size=8, unique=True))
def test_symmetric_in_the_unit_interval_one_for_equal_and_pair_by_pair(kernel, values):
    codes = torch.arange(len(values), dtype=torch.int32)
    for dtype in (torch.float64, torch.float32):
        similarity = block(kernel, values, dtype)
        assert similarity.dtype == dtype
        torch.testing.assert_close(similarity, similarity.T, rtol=0, atol=1e-6)
        assert bool((similarity.diag() == 1).all())
        assert bool(((similarity >= 0) & (similarity <= 1)).all())
        a, b = codes.repeat_interleave(len(values)), codes.repeat(len(values))
        pairs = kernel.compare(kernel.read(values), a, b, dtype).view_as(similarity)
        torch.testing.assert_close(pairs, similarity, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "magnitude", "unit"),
    [
        ("3 mm", 3, "mm"),
        ("0.3 cm", 3, "mm"),
        ("1.1cm", 11, "mm"),
        ("1,5 cm", 15, "mm"),
        ("0,125 cm", 1.25, "mm"),
        ("3.5 毫米", 3.5, "mm"),
        ("约3厘米", 30, "mm"),
        ("250 µm", 0.25, "mm"),
        (".5 CM.", 5, "mm"),
        ("３ ㎜", 3, "mm"),
        ("12 x 8 mm", 12, "mm"),
        ("0.8 cm × 12 mm * 3mm", 12, "mm"),
        ("1.2 by 3.4 cm", 34, "mm"),
        ("12 mm x 8", 12, "mm"),
        ("12 x 8", 12, ""),
        ("3-5 mm", 4, "mm"),
        ("3 mm – 1 cm", 6.5, "mm"),
        ("3 to 5 mm", 4, "mm"),
        ("approx. 7 mm", 7, "mm"),
        ("2 ml", 2, "ml"),
        ("2 cc", 2, "ml"),
        ("2 cm³", 2, "ml"),
        ("2000 mm3", 2, "ml"),
        ("2 立方厘米", 2, "ml"),
        ("1 L", 1000, "ml"),
        ("2 cm²", 200, "mm2"),
        ("3", 3, ""),
        ("-3.5", -3.5, ""),
        ("1e-05", 1e-5, ""),
        ("٣ mm", 3, "mm"),
    ],
)
def test_quantities(text, magnitude, unit):
    quantity = read_quantity(text)
    assert quantity is not None
    assert (quantity.magnitude, quantity.unit) == (pytest.approx(magnitude, rel=1e-15), unit)


@pytest.mark.parametrize(
    "text",
    [
        *("", "small", "< 5 mm", "1,500 ml", "3 mm lesion", "5-3 mm", "2 x 3 ml", "3 mm x 2 ml"),
        *("1 x 2 mm x 3 cm", "3-5 x 2 mm", "mm", "1e999", "NaN", "true", "3 parsecs", "9" * 101),
        *("1.2.3", "3 mm to", "x", "--3", "T2"),
    ],
)
def test_what_is_no_number(text):
    assert read_quantity(text) is None


def test_closeness_by_hand():
    kernel = closeness("x", 4)
    assert pair(kernel, "3 mm", "0.3 cm") == 1
    assert pair(kernel, "1.1 cm", "11 mm") == 1
    assert pair(kernel, "3 mm", "7 mm") == pytest.approx(math.exp(-1), abs=1e-15)
    assert pair(kernel, "1 ml", "3 cm3") == pytest.approx(math.exp(-0.5), abs=1e-15)
    assert pair(kernel, "12 x 8 mm", "1.2 cm") == 1
    assert pair(kernel, "3 mm", "3 ml") == 0
    assert pair(kernel, "3 mm", "3") == 0
    assert pair(kernel, "small", "3 mm") == 0
    assert pair(kernel, "small", "tiny") == 0


def test_a_scale_with_a_unit_is_of_its_kind():
    kernel = closeness("x", "0.4 cm")
    assert pair(kernel, "3 mm", "7 mm") == pytest.approx(math.exp(-1), abs=1e-15)
    assert pair(kernel, "1 ml", "2 ml") == 0
    assert pair(kernel, "1 ml", "1 cc") == 1


def test_large_numbers_are_subtracted_before_they_are_rounded():
    near = block(closeness("x", 0.01), ["100000 mm", "100000.01 mm"], torch.float32)[0, 1]
    assert near.item() == pytest.approx(math.exp(-1), rel=1e-5)


@pytest.mark.parametrize("scale", [0, -1, math.nan, math.inf, "wide", "0 mm", ""])
def test_scale_is_a_positive_quantity(scale):
    with pytest.raises(ValueError, match="scale must be a positive number"):
        closeness("x", scale)


def test_numbers_that_are_infinitely_many_scales_match_only_themselves():
    kernel = closeness("x", scale=1e-10)
    assert block(kernel, ["1e300", "1e301", "1"]).tolist() == torch.eye(3).tolist()


def test_ordered_by_hand():
    kernel = ordered("x", ["low", "slightly low", "iso", "ｈｉｇｈ"])
    assert kernel.levels[-1] == "high"
    assert pair(kernel, "low", "slightly low") == pytest.approx(2 / 3, abs=1e-15)
    assert pair(kernel, "low", "high") == 0
    assert pair(kernel, "low", "mixed") == 0
    assert pair(kernel, "Low", "low") == 0


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (["low"], "at least two"),
        (["low", "ｌｏｗ"], "distinct"),
        ([1, 2], "levels must be strings, got int; a finding's number is compared as its JSON"),
        ("low", "levels must be several strings"),
    ],
)
def test_levels_are_checked(levels, message):
    with pytest.raises(ValueError, match=message):
        ordered("x", levels)


def test_synonyms_by_hand():
    kernel = synonyms("x", {"high": ["bright", "ｈｙｐｅｒ", "high"], "low": ["dark"]})
    assert kernel.groups == (("high", "bright", "hyper"), ("low", "dark"))
    assert pair(kernel, "bright", "hyper") == 1
    assert pair(kernel, "bright", "dark") == 0
    assert pair(kernel, "bright", "other") == 0
    assert pair(kernel, "other", "another") == 0
    assert kernel == synonyms("x", [["high", "bright", "hyper"], ["low", "dark"]])
    assert str(kernel) == "synonyms('x', groups=<2 groups>)"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "at least one group"),
        ([[]], "words in each"),
        ([["a"], ["b"], ["ａ"]], r"groups 0 and 2 \(counted from 0\) share one"),
        ({"high": "bright"}, "must be several strings"),
        (["high"], "must be several strings"),
        ([["a", 3]], "must be strings, got int"),
    ],
)
def test_tables_of_synonyms_are_checked(table, message):
    with pytest.raises(ValueError, match=message) as caught:
        synonyms("x", table)
    assert "bright" not in str(caught.value) or "several" in message


def test_embedding_is_the_cosine_and_never_negative():
    def encode(texts):
        return [{"a": (1, 0), "b": (1, 1), "c": (-1, 0)}[text] for text in texts]

    kernel = embedding("x", encode)
    expected = torch.tensor([[1, 0.5**0.5, 0], [0.5**0.5, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(block(kernel, ["a", "b", "c"]), expected.double(), rtol=0, atol=1e-7)


def test_embedding_reads_the_words_of_several_fields():
    seen = []

    class Model:
        def encode(self, sentences):
            seen.extend(sentences)
            return letters(sentences)

    kernel = embedding(("site", "signal"), Model())
    assert kernel.fields == ("site", "signal")
    reports = [
        Report(id="1", findings=[Finding(site="pons", signal="high")]),
        Report(id="2", findings=[Finding(signal="low")]),
    ]
    SyntaxSimilarity(kernel).fit(reports)
    assert sorted(seen) == ["low", "pons high"]


def test_embedding_checks_its_encoder():
    with pytest.raises(ValueError, match="a model with encode, or a callable, got int"):
        embedding("x", 3)
    with pytest.raises(ValueError, match="finite and not zero"):
        embedding("x", lambda texts: torch.zeros(len(texts), 2)).read(["a"])


def test_numbers_in_findings_are_read():
    reports = [
        Report(id="1", findings=[Finding(grade=3)]),
        Report(id="2", findings=[Finding(grade=4.0)]),
        Report(id="3", findings=[Finding(grade="3")]),
    ]
    similarity = SyntaxSimilarity(closeness("grade", 1.0), gamma=1.0).fit(reports)
    expected = [[1, math.exp(-1), 1], [math.exp(-1), 1, math.exp(-1)], [1, math.exp(-1), 1]]
    dense = similarity.batch(dtype=torch.float64).dense()
    torch.testing.assert_close(dense, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("field", ["", (), ("site", ""), ["site"], 3])
def test_fields_are_names(field):
    with pytest.raises(ValueError, match="field must be the name of a field"):
        exact(field)
