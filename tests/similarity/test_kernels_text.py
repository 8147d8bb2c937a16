"""Kernels of strings: any scorer, sets of n-grams, tables and no tables."""

import importlib

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import distance, fuzz

from selip_core.similarity import dice, fuzzy
from selip_core.similarity.kernels import table as tables
from selip_core.similarity.kernels.fuzzy import _scorers

SCORERS = list(_scorers())
STRINGS = st.lists(
    st.one_of(st.text("ab c", max_size=9), st.text(max_size=9)), min_size=2, max_size=7, unique=True
)


def block(kernel, values, dtype=torch.float64):
    codes = torch.arange(len(values), dtype=torch.int32)
    return kernel.compare(kernel.read(values), codes[:, None], codes[None, :], dtype)


def without_table(kernel, values):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "LARGEST_TABLE", 0)
        return kernel.read(values)


def test_every_scorer_of_rapidfuzz_has_its_name():
    assert {"ratio", "partial_ratio", "token_set_ratio", "WRatio", "QRatio"} <= set(SCORERS)
    assert {"JaroWinkler", "Jaro", "Levenshtein", "OSA", "Indel", "LCSseq"} <= set(SCORERS)


@pytest.mark.parametrize("name", SCORERS)
@settings(max_examples=25)
@given(values=STRINGS)
def test_scores_are_those_of_rapidfuzz_and_symmetric(name, values):
    scorer, best = _scorers()[name]
    similarity = block(fuzzy("x", name), values)
    expected = torch.tensor([[scorer(a, b) / best for b in values] for a in values])
    expected.fill_diagonal_(1)
    torch.testing.assert_close(similarity, expected.double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(expected, expected.T, atol=1e-6, rtol=0)
    cut = block(fuzzy("x", name, cutoff=0.6), values)
    kept = similarity.where((similarity >= torch.tensor(0.6, dtype=torch.float32)), 0)
    torch.testing.assert_close(cut, kept, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "kernel", [dice("x"), dice("x", 2), fuzzy("x"), fuzzy("x", "WRatio")], ids=str
)
@settings(max_examples=40)
@given(values=STRINGS, data=st.data())
def test_tables_pairs_and_blocks_agree(kernel, values, data):
    codes = st.lists(st.integers(-1, len(values) - 1), min_size=1, max_size=9)
    a = torch.tensor(data.draw(codes), dtype=torch.int32)
    b = torch.tensor(data.draw(codes), dtype=torch.int32)
    table = kernel.read(values)
    none = without_table(kernel, values)
    assert "table" in table.tensors
    assert "table" not in none.tensors
    expected = kernel.compare(table, a[:, None], b[None, :], torch.float32)
    scored = kernel.compare(none, a[:, None], b[None, :], torch.float32)
    torch.testing.assert_close(scored, expected, rtol=0, atol=0)
    pairs_a = a[:, None].expand_as(expected).flatten()
    pairs_b = b[None, :].expand_as(expected).flatten()
    for read in (table, none):
        pairs = kernel.compare(read, pairs_a, pairs_b, torch.float32)
        torch.testing.assert_close(pairs.view_as(expected), expected, rtol=0, atol=0)
        one = kernel.compare(read, a[0], b[0], torch.float32)
        assert one.shape == ()
        assert one == expected[0, 0]


@settings(max_examples=40)
@given(values=STRINGS, ngram=st.integers(1, 4))
def test_dice_counts_sets(values, ngram):
    sets = [{v[i : i + ngram] for i in range(len(v) - ngram + 1)} for v in values]
    expected = [
        [1.0 if a is b else 2 * len(a & b) / max(len(a) + len(b), 1) for b in sets] for a in sets
    ]
    similarity = block(dice("x", ngram), values)
    torch.testing.assert_close(similarity, torch.tensor(expected).double(), rtol=0, atol=1e-7)


def test_dice_of_values_shorter_than_the_ngram():
    torch.testing.assert_close(block(dice("x", 3), ["ab", "", "abc"]), torch.eye(3).double())


def test_dtype_of_a_table_is_that_of_the_largest_set(monkeypatch):
    monkeypatch.setattr(tables, "_BLOCK_VALUES", 1)  # a row a block, the small ones first
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    kernel = dice("x")
    read = kernel.read(["a", "ab", many, many + "a"])
    assert read.tensors["table"].dtype == torch.int16
    assert read.tensors["table"][2, 3] == 300
    assert read.tensors["table"][3, 0] == 1
    assert kernel.read(["a", "ab"]).tensors["table"].dtype == torch.uint8


def test_wide_multi_hot_matrices_are_split(monkeypatch):
    values = [f"{number} words of {number % 7}" for number in range(40)]
    kernel = dice("x", 2)
    expected = block(kernel, values)
    module = importlib.import_module("selip_core.similarity.kernels.dice")
    monkeypatch.setattr(module, "_MOST_VALUES", 50)
    torch.testing.assert_close(block(kernel, values), expected, rtol=0, atol=0)
    codes = torch.arange(40)
    pairs = kernel.compare(without_table(kernel, values), codes, codes.flip(0))
    torch.testing.assert_close(pairs, expected.flip(1).diag(), rtol=0, atol=0)


def test_a_narrow_batch_of_a_wide_table():
    values = [f"value {number}" for number in range(100)]
    kernel = fuzzy("x")
    rows, columns = torch.arange(3)[:, None], torch.arange(2)[None, :]
    narrow = kernel.compare(kernel.read(values), rows, columns)
    torch.testing.assert_close(narrow, block(kernel, values)[:3, :2], rtol=0, atol=0)


ODD = ["", " ", "😀🧠", "e\u0301", "é", "שלום עולם", "مرحبا", "额叶高信号", "a" * 20_000]


@pytest.mark.parametrize(
    "kernel", [dice("x"), dice("x", 2), fuzzy("x"), fuzzy("x", "JaroWinkler")], ids=str
)
def test_odd_and_long_strings(kernel):
    similarity = block(kernel, ODD)
    assert bool(similarity.isfinite().all())
    assert bool(((similarity >= 0) & (similarity <= 1)).all())
    torch.testing.assert_close(similarity.diag(), torch.ones(len(ODD)).double())
    assert similarity[0, 1:].max() == 0


def test_a_megabyte():
    million = "ab" * 500_000
    similarity = block(dice("x", 2), [million, million + "c", "ab"])
    expected = torch.tensor([[1, 4 / 5, 2 / 3], [4 / 5, 1, 1 / 2], [2 / 3, 1 / 2, 1]])
    torch.testing.assert_close(similarity, expected.double(), rtol=0, atol=1e-7)
    kernel = fuzzy("x", "Prefix")
    pair = kernel.compare(
        without_table(kernel, [million, million[:-1]]), torch.tensor([0]), torch.tensor([1])
    )
    assert pair.item() == pytest.approx(1 - 1e-6, abs=1e-7)


def test_functions_of_rapidfuzz_are_scorers():
    assert fuzzy("x", fuzz.token_set_ratio) == fuzzy("x", "token_set_ratio")
    assert fuzzy("x", distance.JaroWinkler.normalized_similarity) == fuzzy("x", "JaroWinkler")
    by_hand = block(fuzzy("x", "Levenshtein"), ["kitten", "sitting"])[0, 1]
    assert by_hand.item() == pytest.approx(4 / 7, abs=1e-7)


@pytest.mark.parametrize(
    "scorer",
    [
        distance.Levenshtein.distance,
        distance.Levenshtein.normalized_distance,
        distance.Levenshtein.similarity,
        fuzz.partial_ratio_alignment,
        lambda a, b: 1.0,
    ],
)
def test_other_functions_are_refused(scorer):
    with pytest.raises(ValueError, match=r"the normalized_similarity of a class .* got "):
        fuzzy("x", scorer)


@pytest.mark.parametrize("cutoff", [-0.1, 1.1, float("nan")])
def test_cutoff_is_a_similarity(cutoff):
    with pytest.raises(ValueError, match=r"cutoff must be in \[0, 1\]"):
        fuzzy("x", cutoff=cutoff)


@pytest.mark.parametrize("ngram", [0, -1, 1.5])
def test_ngram_is_a_count(ngram):
    with pytest.raises(ValueError, match="ngram must be a whole number of at least 1"):
        dice("x", ngram)


def test_scores_are_kept_in_float32():
    table = fuzzy("x").read(["ab", "abc"]).tensors["table"]
    assert table.numpy().dtype == numpy.float32
    assert table[0, 1].item() == pytest.approx(0.8, abs=1e-7)
