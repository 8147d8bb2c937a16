"""Full disks: a write fails as a whole, with its reason and the name of what was to be written."""

import errno
import os
import random
import subprocess
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from selip_core import Finding, Report, SemanticSimilarity, SyntaxSimilarity, create_image_encoder
from selip_core.cli.main import main
from selip_core.data import ManifestRow, Preprocessing, VolumeCache, write_manifest
from selip_core.encoders.weights.conversion import convert_weights
from selip_core.errors import WriteError
from selip_core.files import atomic_folder, atomic_path
from selip_core.findings import write_reports
from selip_core.tensor_files import save_tensors

FULL = {errno.ENOSPC, errno.EFBIG}
ENCODER = create_image_encoder("resnet10", embed_dim=8, width=1 / 16)
TENSORS = {"a": torch.arange(5000.0), "b": torch.ones(7)}
TARGET = "target"


def reports(version):
    return [
        Report(id=str(n), text=f"{n} of {version}", findings=[Finding(site=f"{n} of {version}")])
        for n in range(40)
    ]


def rows(version):
    names = {"id", "study", "patient", "volume", "report"}
    return [
        ManifestRow(split="train", sequence="T2", **dict.fromkeys(names, f"{n} of {version}"))
        for n in range(40)
    ]


def write_tensors(target, version):
    with atomic_path(target) as temporary:
        save_tensors(TENSORS, temporary, {"version": str(version)})


def write_folder(target, version):
    with atomic_folder(target, replace=True) as temporary:
        save_tensors(TENSORS, temporary / "tensors")
        (temporary / "text").write_text(f"{version} " * 5000)


def save_similarity(target, version):
    SyntaxSimilarity().fit(reports(version)).save(target, overwrite=True)


def save_model(target, version):
    if version == 2:  # a model is never replaced
        ENCODER.save_pretrained(target)


WRITERS = {
    "write_reports": lambda target, version: write_reports(target, reports(version)),
    "write_manifest": lambda target, version: write_manifest(target, rows(version)),
    "save_tensors": write_tensors,
    "atomic_folder": write_folder,
    "Similarity.save": save_similarity,
    "save_pretrained": save_model,
}


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def require_whole_or_refused(write, folder):
    """Write over what is there; it is replaced as a whole, or stays, with the right error."""
    before, failed = tree(folder), None
    try:
        write(folder / TARGET, 2)
    except WriteError as error:
        failed = (error.errno in FULL, error.filename)
    assert failed in (None, (True, os.fspath(folder / TARGET)))
    assert (tree(folder) == before) == (failed is not None)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_files_that_may_not_grow(campaign, tmp_path, limit_file_size):
    """Writers under a random limit of a file's size."""
    for seed in campaign.seeds(24):
        name = sorted(WRITERS)[seed % len(WRITERS)]
        with campaign.case(f"{name}, {seed}"):
            folder = tmp_path / str(seed)
            folder.mkdir()
            WRITERS[name](folder / TARGET, 1)
            limit = random.Random(seed).choice([0, 1, 10**2, 10**3, 10**4, 10**5])
            limit = random.Random(seed).randint(limit // 10, limit)
            with limit_file_size(limit):
                require_whole_or_refused(WRITERS[name], folder)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A file system of 256 KiB."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, free: int) -> None:
    """Write a file that leaves so many bytes, in whole blocks."""
    room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, room - free)))


def empty(disk: Path) -> None:
    subprocess.run(["find", str(disk), "-mindepth", "1", "-delete"], check=True)


def test_disks_without_room(campaign, small_disk):
    """Writers on a disk with random room left."""
    for seed in campaign.seeds(24):
        name = sorted(WRITERS)[seed % len(WRITERS)]
        with campaign.case(f"{name}, {seed}"):
            empty(small_disk)
            (small_disk / "work").mkdir()
            WRITERS[name](small_disk / "work" / TARGET, 1)
            fill(small_disk, random.Random(seed).randint(0, 120_000))
            require_whole_or_refused(WRITERS[name], small_disk / "work")


def test_caches_without_room(campaign, small_disk, tmp_path):
    """Caches on a disk with random room left: the values are right, with a warning."""
    volume = tmp_path / "t2.nii.gz"
    voxels = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), volume)
    preprocessing = Preprocessing((1, 1, 1), (40, 40, 40))
    image = preprocessing(volume, "here")

    def encode(texts):
        return torch.tensor([[float(ord(letter)) for letter in text.ljust(300)] for text in texts])

    right = SemanticSimilarity(encode).fit(reports(1)).batch().dense()
    for seed in campaign.seeds(8):
        with campaign.case(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            empty(small_disk)
            if seed % 2:
                cache = VolumeCache(small_disk / "work", preprocessing)
            else:
                (small_disk / "work").mkdir()
            fill(small_disk, random.Random(seed).randint(0, 320_000))
            for _ in range(2):
                if seed % 2:
                    assert torch.equal(cache.get(volume, "here"), image)
                else:
                    similarity = SemanticSimilarity(encode, cache=small_disk / "work", revision="1")
                    assert torch.equal(similarity.fit(reports(1)).batch().dense(), right)
            assert not list(small_disk.rglob(".*"))


def test_converted_weights_without_room(campaign, small_disk, tmp_path):
    """Conversion of weights on a disk with random room left."""
    torch.save(TENSORS, tmp_path / "a.pth")
    for seed in campaign.seeds(1):
        with campaign.case(seed):
            empty(small_disk)
            target = small_disk / "a.safetensors"
            write_tensors(target, 1)
            content = target.read_bytes()
            fill(small_disk, random.Random(seed).randint(0, 18_000))
            with pytest.raises(WriteError, match="No space left on device") as caught:
                convert_weights(tmp_path / "a.pth", target, overwrite=True)
            assert caught.value.filename == os.fspath(target)
            assert target.read_bytes() == content
            assert {path.name for path in small_disk.iterdir()} == {"a.safetensors", "filler"}


def test_commands_without_room(campaign, small_disk, capsys):
    """Commands of selip on a full disk: exit code 2, the file and the reason."""
    for command in (
        ["similarity", "fit", "reports.jsonl", "--out", "fitted"],
        ["doctor", "--json", "doctor.json"],
    ):
        with campaign.case(command[0]):
            empty(small_disk)
            write_reports(small_disk / "reports.jsonl", reports(1))
            fill(small_disk, 0)
            before = tree(small_disk)
            names = {"reports.jsonl", "fitted", "doctor.json"}
            assert main([str(small_disk / w) if w in names else w for w in command]) == 2
            message = capsys.readouterr().err
            assert "No space left on device" in message
            assert "Traceback" not in message
            assert tree(small_disk) == before
