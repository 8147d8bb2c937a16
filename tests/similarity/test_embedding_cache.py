"""The cache of embeddings: whatever happens to its folder, embeddings come out right."""

import os
import shutil
import warnings

import pytest
import torch
from safetensors.torch import save_file

from selip_core.similarity.embedding_cache import EmbeddingCache
from selip_core.similarity.embeddings import embed
from selip_core.tensor_files import load_tensors, save_tensors

TEXTS = [f"lesion of patient {number}" for number in range(40)]


def encode(texts):
    return torch.tensor([[len(text), ord(text[-1]), 1.0] for text in texts])


def use(folder):
    """Embed by the cache, see that it is right, and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = embed(encode, TEXTS, cache=folder, revision="1")
    assert torch.equal(found, embed(encode, TEXTS))
    messages = [str(warning.message) for warning in caught]
    assert not any("patient" in message or str(folder) in message for message in messages)
    return messages


@pytest.fixture
def folder(shared_folder):
    return shared_folder / "cache"


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def empty(shape=(40, 3), value=0.0, dtype=torch.float32):
    hashes = torch.zeros(40, 32, dtype=torch.uint8)
    return {"hashes": hashes, "embeddings": torch.full(shape, value, dtype=dtype)}


@pytest.mark.parametrize(
    "content",
    [
        empty(value=float("nan")),
        empty(dtype=torch.float64),
        empty(shape=(39, 3)),
        empty(shape=(40,)),
        {"hashes": empty()["hashes"]},
        {},
    ],
)
def test_what_no_cache_writes_is_damaged(folder, content):
    use(folder)
    (path,) = files(folder)
    save_tensors(content, path)
    message = "a file of the cache of embeddings is damaged: its texts are embedded again"
    assert use(folder) == [message]
    assert use(folder) == []
    assert len(load_tensors(path)[0]["embeddings"]) == 40


def test_embeddings_of_another_encoder_are_not_taken(folder):
    use(folder)
    (own,) = files(folder)
    embed(lambda texts: torch.ones(len(texts), 3), TEXTS, cache=folder, revision="2")
    (theirs,) = set(files(folder)) - {own}
    shutil.copy(theirs, own)
    (warning,) = use(folder)
    assert "is damaged" in warning


def test_one_warning_for_many_damaged_files(folder):
    for number in range(3):
        use(folder)
        path = files(folder)[0]
        shutil.copy(path, path.with_name(f"{number}.safetensors"))
        save_file(empty(), path.with_name(f"{number}.safetensors"))
    assert len(use(folder)) == 1


def test_files_of_another_user_stay(folder, another_user):
    use(folder)
    (path,) = files(folder)
    path.chmod(0o600)
    path.parent.chmod(0o777)
    content = path.read_bytes()
    with another_user():
        (warning,) = use(folder)
        assert use(folder) == [warning]  # what was embedded again was kept beside it
    assert "cannot be read (Permission denied): it is left as it is" in warning
    assert path.read_bytes() == content
    assert len(files(folder)) == 2


def test_damaged_files_of_another_user_stay_where_they_cannot_be_replaced(folder, another_user):
    use(folder)
    (path,) = files(folder)
    path.write_bytes(b"cut")
    path.parent.chmod(0o1777)  # only owners rename, as in /tmp
    with another_user():
        assert len(use(folder)) == 1
    assert path.read_bytes() == b"cut"
    assert len(files(folder)) == 2


def test_a_folder_that_can_only_be_read_is_read(folder, another_user):
    use(folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    before = files(folder)
    with another_user():
        (warning,) = use(folder)
        EmbeddingCache(folder, "another encoder").write(["a"], torch.ones(1, 3))
    assert "cannot be written to (Permission denied): what it holds is used" in warning
    assert files(folder) == before


def test_a_path_that_can_be_no_folder_is_an_error(folder):
    folder.write_text("a file")
    with pytest.raises(ValueError, match="cannot write to the folder"):
        embed(encode, TEXTS, cache=folder, revision="1")


def test_a_folder_that_can_be_neither_read_nor_made_is_one_warning(folder, another_user):
    folder.mkdir(mode=0o700)
    for closed in (folder, folder / "below"):
        with another_user(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            embeddings = embed(encode, TEXTS, cache=closed, revision="1")
        assert torch.equal(embeddings, embed(encode, TEXTS))
        (warning,) = [str(each.message) for each in caught]
        assert "the cache of embeddings cannot be used (Permission denied)" in warning


def test_a_full_disk_is_one_warning(folder, limit_file_size):
    EmbeddingCache(folder, "revision 1")
    with limit_file_size(4096), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache = EmbeddingCache(folder, "revision 1")
        for start in range(0, 40, 10):
            cache.write(TEXTS[start : start + 10], torch.ones(10, 200))
    (warning,) = [str(warning.message) for warning in caught]
    assert "could not be kept in the cache (File too large): this run goes on" in warning
    assert files(folder) == []


def test_a_deleted_folder_is_one_warning(folder):
    cache = EmbeddingCache(folder, "1")
    shutil.rmtree(folder)
    with pytest.warns(UserWarning, match=r"could not be kept .* \(No such file or directory\)"):
        cache.write(["a"], torch.ones(1, 3))
    assert cache.read(["a"]) == []


def test_a_folder_in_the_place_of_a_file_stays(folder):
    use(folder)
    (path,) = files(folder)
    other = path.with_name("other.safetensors")
    other.mkdir()
    (warning,) = use(folder)
    assert "cannot be read (Is a directory)" in warning
    assert other.is_dir()


def test_what_killed_writers_left_is_removed_after_a_day(folder):
    inner = EmbeddingCache(folder, "1").folder
    for name in "bc":
        (inner / f".partial-0123456789a{name}-a.safetensors").mkdir()
    os.utime(inner / ".partial-0123456789ab-a.safetensors", (1, 1))
    EmbeddingCache(folder, "1")
    assert [path.name[-15:] for path in inner.iterdir()] == ["c-a.safetensors"[-15:]]
