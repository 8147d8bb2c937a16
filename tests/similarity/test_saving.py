import errno
import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from selip_core.digests import sealed
from selip_core.errors import WriteError
from selip_core.findings import Finding, Report
from selip_core.similarity import (
    MixedSimilarity,
    SemanticSimilarity,
    SyntaxSimilarity,
    dice,
    embedding,
    exact,
    fuzzy,
    load_similarity,
)
from selip_core.similarity.packed_strings import PackedStrings
from selip_core.similarity.saving import hash_corpus

KERNEL = (0.5 * exact("site") + 0.5 * exact("signal", missing="leave_out")) * dice("text", 2)


def count_letters(texts):
    return torch.tensor([[1.0, *(text.count(letter) for letter in "aeiou")] for text in texts])


MAKERS = {
    "syntax": lambda: SyntaxSimilarity(KERNEL, gamma=2.0, own_floor=0.2, normal="paper"),
    "sparse": lambda: SyntaxSimilarity(fuzzy("site"), top_k=2, min_similarity=0.1),
    "paper": SyntaxSimilarity.paper,
    "semantic": lambda: SemanticSimilarity(count_letters),
    "mixed": lambda: 0.25 * SyntaxSimilarity(KERNEL) + 0.75 * SyntaxSimilarity.paper(),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


@pytest.fixture
def texts(reports):
    odd = [
        Report(id="额叶", findings=[Finding(site="\U0001f9e0", text="טקסט")], text="é"),
        Report(id="\u202ea\n", findings=[Finding(site="", text="\0")], text="odd"),
    ]
    return [report.model_copy(update={"text": report.id}) for report in reports] + odd


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "fitted"


def tables(similarity):
    return similarity.batch(dtype=torch.float64).dense()


def test_loading_is_fitting(make, texts, folder):
    fitted = make().fit(texts)
    fitted.save(folder)
    loaded = make().load(folder)
    assert loaded.index.ids == fitted.index.ids
    assert torch.equal(tables(loaded), tables(fitted))
    rows, columns = ["b", "额叶"], ["a", "\u202ea\n"]
    assert torch.equal(loaded.batch(rows, columns).dense(), fitted.batch(rows, columns).dense())


def test_loaded_goes_on_and_saves_again(make, texts, folder):
    new = Report(id="new", findings=[Finding(site="eye", text="new")], text="new")
    make().fit(texts).save(folder)
    loaded = make().load(folder).extend([new, texts[0]])
    torch.testing.assert_close(tables(loaded), tables(make().fit([*texts, new])))
    loaded.save(folder, overwrite=True)
    assert torch.equal(tables(make().load(folder)), tables(loaded))
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["syntax", "sparse", "paper", "mixed"])
def test_rebuilt_from_the_card(name, texts, folder):
    fitted = MAKERS[name]().fit(texts)
    fitted.save(folder)
    loaded = load_similarity(folder)
    assert type(loaded) is type(fitted)
    assert loaded.definition() == fitted.definition()
    assert torch.equal(tables(loaded), tables(fitted))


def test_a_function_of_the_user_cannot_be_rebuilt(texts, folder):
    (0.5 * MAKERS["semantic"]() + 0.5 * MAKERS["paper"]()).fit(texts).save(folder)
    with pytest.raises(
        ValueError, match=r"rebuilt from its card: .*count_letters.* load\(folder\)"
    ):
        load_similarity(folder)


def test_another_definition_is_refused_with_the_difference(texts, folder):
    SyntaxSimilarity(0.25 * exact("site") + 0.75 * exact("signal"), gamma=2).fit(texts).save(folder)
    here = SyntaxSimilarity(0.5 * exact("site") + 0.5 * exact("signal"), top_k=3).fit(texts[:2])
    before = tables(here)
    with pytest.raises(ValueError, match="another definition; here -> there") as caught:
        here.load(folder)
    message = str(caught.value)
    assert "terms[0].scale: 0.5 -> 0.25" in message
    assert "gamma: 8.0 -> 2.0" in message
    assert "top_k: 3 -> null" in message
    assert "own_floor" not in message
    assert torch.equal(tables(here), before)
    with pytest.raises(ValueError, match=r'kind: "mixed" -> "syntax"'):
        MAKERS["mixed"]().load(folder)


def test_card_tells_what_was_fitted(texts, folder):
    MAKERS["mixed"]().fit(texts).save(folder)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert card["kind"] == "mixed"
    assert card["definition"]["scales"] == [0.25, 0.75]
    assert card["definition"]["parts"][1]["kernel"]["right"]["field"] == "text"
    assert card["reports"] == len(texts)
    assert card["versions"]["torch"] == version("torch")
    assert card["created"].endswith("+00:00")
    text = (folder / "card.json").read_text(encoding="utf-8")
    assert "pons" not in text
    assert "normal 1" not in text


def test_hash_of_the_corpus_sees_what_is_said_and_no_order(make, texts, tmp_path):
    def hashed(name, reports):
        make().fit(reports).save(tmp_path / name)
        return json.loads((tmp_path / name / "card.json").read_text("utf-8"))["corpus_hash"]

    whole = hashed("whole", texts)
    assert hashed("reversed", texts[::-1]) == whole
    assert hashed("repeated", [*texts, texts[0]]) == whole
    assert hashed("fewer", texts[1:]) != whole
    finding = Finding(site="eye", text="c", signal="high")
    says_other = texts[2].model_copy(update={"findings": (finding,), "text": "other"})
    assert hashed("other", [*texts[:2], says_other, *texts[3:]]) != whole
    renamed = texts[2].model_copy(update={"id": "renamed"})
    assert hashed("renamed", [*texts[:2], renamed, *texts[3:]]) != whole


def test_hash_of_the_corpus_by_hand():
    assert hash_corpus(["a", "b"], [b"x", b"y"]) == hash_corpus(["b", "a"], [b"y", b"x"])
    assert len({hash_corpus(["a"], [b"x"]), hash_corpus(["a"], [b"y"]), hash_corpus([], [])}) == 3


def test_only_a_saved_similarity_is_replaced(fitted, tmp_path):
    target = tmp_path / "taken"
    target.mkdir()
    fitted.save(target)  # an empty folder
    with pytest.raises(FileExistsError, match="overwrite=True"):
        fitted.save(target)
    fitted.save(target, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for path in (other, tmp_path / "file"):
        with pytest.raises(FileExistsError, match="no saved similarity"):
            fitted.save(path, overwrite=True)
    assert (other / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_failure_leaves_no_trace(fitted, tmp_path, monkeypatch, overwrite):
    target = tmp_path / "fitted"
    if overwrite:
        fitted.save(target)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    monkeypatch.setattr("safetensors.torch.save_file", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fitted.save(target, overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_failure_of_the_swap_puts_the_old_one_back(fitted, tmp_path, monkeypatch):
    target = tmp_path / "fitted"
    fitted.save(target)
    rename = Path.rename

    def failing(path, goal):
        if path.name.startswith(".partial-"):
            raise OSError(errno.EIO, "no luck", str(path))
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(WriteError, match=r"no luck: '.*/fitted'"):
        fitted.save(target, overwrite=True)
    assert list(tmp_path.iterdir()) == [target]
    assert torch.equal(tables(load_similarity(target)), tables(fitted))


def test_what_a_kill_between_the_renames_left_is_read_and_replaced(fitted, reports, tmp_path):
    target = tmp_path / "fitted"
    fitted.save(target)
    old = target.rename(tmp_path / ".old-0123456789ab-fitted")
    (tmp_path / ".partial-0123456789ab-fitted").mkdir()
    assert torch.equal(tables(load_similarity(target)), tables(fitted))
    assert old.is_dir()  # reading changes nothing
    with pytest.raises(FileExistsError, match="overwrite=True"):
        fitted.save(target)
    assert torch.equal(tables(load_similarity(target)), tables(fitted))
    assert not old.exists()
    fitted.save(target, overwrite=True)
    assert len(load_similarity(target).index) == len(reports)


def test_a_full_disk_keeps_what_was_to_be_replaced(fitted, reports, folder, limit_file_size):
    fitted.save(folder)
    more = [
        Report(id=f"new {number}", findings=[Finding(site=str(number))]) for number in range(99)
    ]
    larger = SyntaxSimilarity(KERNEL).fit([*reports, *more])
    with limit_file_size(3000), pytest.raises(WriteError, match="File too large") as caught:
        larger.save(folder, overwrite=True)
    assert caught.value.filename == str(folder)
    assert list(folder.parent.iterdir()) == [folder]
    assert torch.equal(tables(load_similarity(folder)), tables(fitted))


def test_cards_of_format_1_are_read(fitted, folder):
    fitted.save(folder)
    card = json.loads((folder / "card.json").read_text("utf-8"))
    del card["content_sha256"]
    (folder / "card.json").write_text(json.dumps(card | {"format": 1}))
    assert torch.equal(tables(load_similarity(folder)), tables(fitted))


def test_a_number_changed_on_the_card_is_found(fitted, folder):
    fitted.save(folder)
    text = (folder / "card.json").read_text("utf-8")
    for old, new in (('"reports": ', '"reports": 1'), ('"format": 2', '"format": 1')):
        assert old in text
        (folder / "card.json").write_text(text.replace(old, new), "utf-8")
        with pytest.raises(ValueError, match=r"card\.json is damaged or was edited: .*save again"):
            load_similarity(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "\0", "[]", '{"format": "2"}', '{"format": []}'])
def test_rubbish_in_place_of_the_card_is_refused(fitted, folder, text):
    fitted.save(folder)
    (folder / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card\.json .*save again"):
        load_similarity(folder)


def test_nothing_fitted_nothing_saved(make, folder):
    with pytest.raises(ValueError, match="not fitted"):
        make().save(folder)
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/maps")
def test_tensors_are_mapped_from_the_file(fitted, folder):
    fitted.save(folder)
    loaded = load_similarity(folder)
    assert str(folder / "tensors.safetensors") in Path("/proc/self/maps").read_text()
    before = tables(loaded)
    fitted.extend([Report(id="new", findings=[Finding(site="eye")])]).save(folder, overwrite=True)
    assert torch.equal(tables(loaded), before)  # replaced, and still readable


@pytest.mark.parametrize("name", ["card.json", "ids.json", "tensors.safetensors"])
def test_damaged_files_are_named(fitted, folder, name):
    fitted.save(folder)
    whole = (folder / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1], b"", None):
        (folder / name).unlink(missing_ok=True)
        if damaged is not None:
            (folder / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=name):
            load_similarity(folder)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_similarity(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"no saved similarity: it has no card\.json"):
        load_similarity(tmp_path)


@pytest.mark.parametrize("name", ["ids.json", "tensors.safetensors"])
def test_a_changed_bit_is_found(fitted, folder, name):
    fitted.save(folder)
    content = bytearray((folder / name).read_bytes())
    for place in (len(content) // 3, len(content) // 2, len(content) - 3):
        content[place] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is damaged: its SHA-256 is .*save again"):
            load_similarity(folder)
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            fitted.load(folder)
        content[place] ^= 1
    (folder / name).write_bytes(content)
    assert torch.equal(tables(load_similarity(folder)), tables(fitted))


def test_ids_in_another_order_are_found(fitted, folder):
    fitted.save(folder)
    ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    (folder / "ids.json").write_text(json.dumps(ids[::-1]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"ids\.json is damaged"):
        load_similarity(folder)


def edit_card(folder, **changes):
    card = json.loads((folder / "card.json").read_text(encoding="utf-8")) | changes
    (folder / "card.json").write_text(json.dumps(sealed(card)), encoding="utf-8")


def read_tensors(folder):
    tensors = load_file(folder / "tensors.safetensors")
    return {name: tensor.clone() for name, tensor in tensors.items()}


def write_tensors(folder, tensors):
    """Write tensors and their hash, as if they had been saved."""
    save_file(tensors, folder / "tensors.safetensors")
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("ids.json", "tensors.safetensors")
    }
    edit_card(folder, sha256=digests)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "must be of a format from 1 to 2, got 3"),
        ({"definition": {"kind": "other"}}, "kind must be one of"),
        ({"definition": {"kind": "mixed"}}, "settings of mixed do not fit"),
        ({"definition": {"kind": "mixed", "scales": [2.0], "parts": []}}, "scales"),
        ({"definition": {"kind": "mixed", "scales": [1.0], "parts": ["x"]}}, "got None"),
        ({"definition": {"kind": "syntax", "kernel": {"kind": "no"}}}, "needed a finding kernel"),
        ({"definition": None}, "'definition'"),
        ({"sha256": None}, "must have a dict 'sha256'"),
        ({"sha256": {}}, r"ids\.json is damaged"),
        ({"reports": 3}, r"ids\.json must hold 3 distinct ids"),
        ({"tensors": {}}, "other tensors than the card names"),
    ],
)
def test_edited_cards_are_refused(fitted, folder, changes, message):
    fitted.save(folder)
    edit_card(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load_similarity(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("offsets", lambda t: t.flip(0), "offsets of contents must be int64 and rise"),
        ("offsets", lambda t: t + 1, "offsets of contents"),
        ("findings", lambda t: t + 1000, "'findings' must hold numbers from 0"),
        ("codes.1", lambda t: t - 2, "'codes.1' must hold numbers from -1"),
        ("says", lambda t: -t - 1, "'says' must hold numbers from 0"),
        ("own", lambda t: t * torch.nan, "'own' must hold similarities"),
        ("strings.1.offsets", lambda t: t * 0, "offsets of strings"),
    ],
)
def test_edited_tensors_are_refused(fitted, folder, name, change, message):
    fitted.save(folder)
    tensors = read_tensors(folder)
    tensors[name] = change(tensors[name]).contiguous()
    write_tensors(folder, tensors)
    with pytest.raises(ValueError, match=message) as caught:
        load_similarity(folder)
    assert "fit and save again" in str(caught.value)


def test_tables_must_fit_the_values(reports, folder):
    SyntaxSimilarity(dice("site")).fit(reports).save(folder)
    tensors = read_tensors(folder)
    name = next(name for name in tensors if name.endswith(".table"))
    tensors[name] = tensors[name][:1]
    write_tensors(folder, tensors)
    card = json.loads((folder / "card.json").read_text())
    shape = list(tensors[name].shape)
    edit_card(folder, tensors=card["tensors"] | {name: f"uint8 {shape}"})
    with pytest.raises(ValueError, match="'table' must have a row for each of"):
        load_similarity(folder)


@pytest.mark.parametrize("kernel", [dice("site"), fuzzy("site")], ids=str)
def test_values_without_a_table_are_saved(kernel, reports, folder, monkeypatch):
    monkeypatch.setattr("selip_core.similarity.kernels.table.LARGEST_TABLE", 1)
    fitted = SyntaxSimilarity(kernel).fit(reports)
    fitted.save(folder)
    assert ".table" not in (folder / "card.json").read_text()
    assert load_similarity(folder).batch().dense().equal(fitted.batch().dense())


def test_failed_loading_leaves_what_was_fitted(texts, reports, folder, tmp_path):
    mix = MAKERS["mixed"]().fit(texts)
    before = tables(mix)
    MAKERS["mixed"]().fit(reports).save(folder)
    tensors = read_tensors(folder)
    tensors["1.says"] -= 100
    write_tensors(folder, tensors)
    with pytest.raises(ValueError, match="'says'"):
        mix.load(folder)
    assert torch.equal(tables(mix), before)
    assert isinstance(mix, MixedSimilarity)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The folder of a model."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("1")
    loader = "selip_core.similarity.embeddings.load_encoder"
    monkeypatch.setattr(loader, lambda name: count_letters)
    return model


def test_the_encoder_of_a_kernel_is_saved(reports, model, folder):
    kernel = 0.5 * exact("signal") + 0.5 * embedding("site", model)
    fitted = SyntaxSimilarity(kernel).fit(reports)
    fitted.save(folder)
    (identity,) = json.loads((folder / "card.json").read_text("utf-8"))["definition"]["encoders"]
    loaded = SyntaxSimilarity(kernel).load(folder)
    assert torch.equal(tables(loaded), tables(fitted))
    new = Report(id="new", findings=[Finding(site="eye")])
    assert len(loaded.extend([new]).index) == len(reports) + 1

    (model / "weights").write_text("2")
    with pytest.raises(ValueError, match=rf'encoders\[0\]: "sha256 .*" -> "{identity}"'):
        SyntaxSimilarity(kernel).load(folder)


def test_the_encoder_of_a_part_is_saved(reports, model, folder):
    def make():
        return 0.5 * MAKERS["paper"]() + 0.5 * SyntaxSimilarity(embedding("site", model))

    make().fit(reports).save(folder)
    make().load(folder)
    (model / "weights").write_text("2")
    with pytest.raises(ValueError, match=r"parts\[1\]\.encoders\[0\]: "):
        make().load(folder)


def test_what_an_encoder_was_stays_known(reports, model, folder):
    fitted = SyntaxSimilarity(embedding("site", model)).fit(reports)
    before = fitted.definition()
    (model / "weights").write_text("2")
    fitted.save(folder)
    loaded = load_similarity(folder)
    assert loaded.definition() == before
    assert torch.equal(tables(loaded), tables(fitted))
    with pytest.raises(ValueError, match="an encoder of the kernel is not the one that embedded"):
        loaded.extend([Report(id="new", findings=[Finding(site="eye")])])
    assert SyntaxSimilarity(embedding("site", model)).definition() != before


def test_a_function_has_no_identity(reports, folder):
    fitted = SyntaxSimilarity(embedding("site", count_letters)).fit(reports)
    fitted.save(folder)
    assert fitted.definition()["encoders"] == []
    loaded = SyntaxSimilarity(embedding("site", count_letters)).load(folder)
    assert torch.equal(tables(loaded), tables(fitted))


def test_an_edited_identity_is_refused(reports, model, folder):
    SyntaxSimilarity(embedding("site", model)).fit(reports).save(folder)
    facts = json.loads((folder / "card.json").read_text("utf-8"))["facts"]
    edit_card(folder, facts=facts | {"values.1": {"encoder": 1}})
    with pytest.raises(ValueError, match="identity of an encoder must be a string, got 1"):
        load_similarity(folder)


def test_packed_strings():
    strings = ["", "pons", "额叶", "\U0001f9e0", "\ud800", ""]
    packed = PackedStrings.of(strings)
    assert list(packed) == strings
    assert (packed[-2], packed[1:3]) == ("\ud800", ["pons", "额叶"])
    with pytest.raises(IndexError, match="6 strings"):
        packed[6]
    assert list(PackedStrings.of([])) == []
    assert not PackedStrings.of([])
