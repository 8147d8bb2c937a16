import logging
import os
from multiprocessing.reduction import ForkingPickler

import nibabel
import pytest
import torch
from torch.utils.data import DataLoader

from selip_core.data import Preprocessing, VolumeCache, VolumeDataset, read_manifest
from selip_core.errors import DataError
from selip_core.tensor_files import load_tensors

PREPROCESSING = Preprocessing(spacing=(8.0, 8.0, 8.0), size=(16, 18, 15))


@pytest.fixture
def manifest(write_set, row):
    return read_manifest(write_set([row("a"), row("b"), row("c")]))


@pytest.fixture
def readings(monkeypatch):
    """Count how often a volume is really preprocessed."""
    count = []
    original = Preprocessing.__call__

    def counted(self, *arguments):
        count.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(Preprocessing, "__call__", counted)
    return count


def entries(folder):
    return sorted(folder.glob("*"))


def test_items_collate_in_order(manifest):
    dataset = VolumeDataset(manifest, PREPROCESSING)
    batch = next(iter(DataLoader(dataset, batch_size=3)))
    assert batch["image"].shape == (3, 1, 16, 18, 15)
    assert batch["image"].dtype == torch.float32
    assert batch["index"].tolist() == [0, 1, 2]
    assert dataset[-1]["index"] == 2
    with pytest.raises(IndexError):
        dataset[3]


def test_workers_give_the_same(manifest, tmp_path):
    dataset = VolumeDataset(manifest, PREPROCESSING, cache=tmp_path / "cache")
    expected = dataset[0]["image"]
    loader = DataLoader(dataset, batch_size=3, num_workers=1)
    assert torch.equal(next(iter(loader))["image"][0], expected)


@pytest.mark.parametrize("in_memory", [True, False])
def test_can_be_sent_to_spawned_workers(manifest, tmp_path, in_memory):
    dataset = VolumeDataset(manifest, PREPROCESSING, tmp_path / "cache", in_memory)
    assert len(ForkingPickler.dumps(dataset)) > 0


def test_cache_is_bit_equal_and_read_once(manifest, tmp_path, readings):
    fresh = VolumeDataset(manifest, PREPROCESSING)[0]["image"]
    for _ in range(2):
        dataset = VolumeDataset(manifest, PREPROCESSING, cache=tmp_path / "cache")
        assert torch.equal(dataset[0]["image"], fresh)
    assert len(readings) == 2
    assert len(entries(tmp_path / "cache")) == 1


def test_other_parameters_and_changed_sources_are_other_entries(manifest, tmp_path, phantom):
    source = manifest.volume_path(0)
    first = VolumeCache(tmp_path / "cache", PREPROCESSING).get(source, "here")
    other = Preprocessing(spacing=(8.0, 8.0, 8.0), size=(16, 18, 15), percentiles=(5.0, 95.0))
    assert not torch.equal(VolumeCache(tmp_path / "cache", other).get(source, "here"), first)
    changed = phantom.get_fdata()
    changed[10:20] *= 3
    nibabel.save(nibabel.Nifti1Image(changed, phantom.affine), source)
    os.utime(source, ns=(1, 1))
    assert not torch.equal(VolumeCache(tmp_path / "cache", PREPROCESSING).get(source, "a"), first)
    assert len(entries(tmp_path / "cache")) == 3


@pytest.mark.parametrize("keep", [0, 7, 100])
def test_damaged_entry_is_built_again(manifest, tmp_path, caplog, keep):
    cache = VolumeCache(tmp_path / "cache", PREPROCESSING)
    expected = cache.get(manifest.volume_path(0), "here")
    (entry,) = entries(tmp_path / "cache")
    whole = entry.read_bytes()
    entry.write_bytes(whole[:keep])
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cache.get(manifest.volume_path(0), "here"), expected)
    assert "built again" in caplog.text
    assert str(tmp_path) not in caplog.text
    rebuilt, facts = load_tensors(entry)  # the order of facts in the header is not fixed
    assert torch.equal(rebuilt["image"], expected)
    assert facts == {"key": entry.stem}


def test_in_memory_reads_each_volume_once(manifest, readings):
    dataset = VolumeDataset(manifest, PREPROCESSING, in_memory=True)
    assert len(readings) == 3
    assert torch.equal(dataset[1]["image"], dataset[1]["image"])
    assert len(readings) == 3


def test_in_memory_tells_all_unusable_volumes(manifest, tmp_path):
    (tmp_path / "a.nii.gz").unlink()
    (tmp_path / "c.nii.gz").write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        VolumeDataset(manifest, PREPROCESSING, in_memory=True)
    places = [problem.where for problem in caught.value.problems]
    assert places == ["manifest.jsonl:1 $.volume", "manifest.jsonl:3 $.volume"]


@pytest.mark.parametrize("cached", [True, False])
def test_unusable_volume_is_told_by_its_place(manifest, tmp_path, cached):
    (tmp_path / "b.nii.gz").unlink()
    cache = tmp_path / "cache" if cached else None
    dataset = VolumeDataset(manifest, PREPROCESSING, cache=cache)
    with pytest.raises(DataError, match=r"manifest\.jsonl:2 \$\.volume: there is no such file"):
        dataset[1]


def test_selection_keeps_the_places_of_the_file(manifest, tmp_path, write_set, row):
    whole = read_manifest(write_set([row("a"), row("b", split="test")]))
    (tmp_path / "b.nii.gz").unlink()
    with pytest.raises(DataError, match=r"manifest\.jsonl:2 \$\.volume"):
        VolumeDataset(whole.select("test"), PREPROCESSING)[0]


def test_empty_manifest(manifest):
    with pytest.raises(ValueError, match="at least one row"):
        VolumeDataset(manifest.select("test"), PREPROCESSING)
