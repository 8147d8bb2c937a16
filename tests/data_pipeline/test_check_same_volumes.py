"""Volumes that two rows share."""

import gzip
import json
import os
import shutil

import pytest
from pydicom.data import get_testdata_file

from selip_core.data import check_manifest

IN_TWO_SPLITS = "volume in two splits"


@pytest.fixture
def two(write_set, row):
    """Write a training and a test row; return the manifest."""
    return write_set([row("a"), row("b", split="test")])


def issues(path):
    found = check_manifest(path, workers=2).issues
    return [(issue.severity, issue.check, issue.where) for issue in found]


LEAK = [("error", IN_TWO_SPLITS, "manifest.jsonl:2 $.volume")]
EQUAL = [("warning", IN_TWO_SPLITS, "manifest.jsonl:2 $.volume")]


@pytest.mark.parametrize("volume", ["a.nii.gz", "./a.nii.gz"])
def test_one_path_in_two_splits(two, volume):
    two.write_text(two.read_text().replace('"b.nii.gz"', json.dumps(volume)))
    assert issues(two) == LEAK


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_file_under_two_names_in_two_splits(two, link):
    (two.parent / "b.nii.gz").unlink()
    link(two.parent / "a.nii.gz", two.parent / "b.nii.gz")
    assert issues(two) == LEAK


def test_one_file_under_two_names_in_one_split(write_set, row):
    path = write_set([row("a"), row("b")])
    (path.parent / "b.nii.gz").unlink()
    (path.parent / "b.nii.gz").symlink_to("a.nii.gz")
    assert issues(path) == [("warning", "volume", "manifest.jsonl:2 $.volume")]


def test_a_copy_in_another_split(two):
    shutil.copy(two.parent / "a.nii.gz", two.parent / "b.nii.gz")
    assert issues(two) == EQUAL


def test_a_copy_in_the_same_split_is_no_leak(write_set, row):
    path = write_set([row("a"), row("b"), row("c", split="test")])
    shutil.copy(path.parent / "a.nii.gz", path.parent / "b.nii.gz")
    assert issues(path) == []


@pytest.mark.parametrize("name", ["b.nii.gz", "b.nii"])
def test_a_copy_that_was_compressed_otherwise(two, name):
    content = gzip.decompress((two.parent / "a.nii.gz").read_bytes())
    packed = gzip.compress(content, compresslevel=1, mtime=7) if name.endswith("gz") else content
    (two.parent / name).write_bytes(packed)
    two.write_text(two.read_text().replace("b.nii.gz", name))
    assert issues(two) == EQUAL


def test_equal_checksums_are_not_taken_for_equal_content(two, monkeypatch):
    monkeypatch.setattr("selip_core.data.check_same_volumes._checksum", lambda path: 7)
    assert issues(two) == []


def test_a_copied_dicom_folder(two):
    for name in "ab":
        (two.parent / name).mkdir()
        shutil.copy(get_testdata_file("MR_small.dcm"), two.parent / name / f"{name}.dcm")
    two.write_text(two.read_text().replace(".nii.gz", ""))
    assert issues(two) == EQUAL


def test_a_missing_volume_is_one_issue(two):
    (two.parent / "b.nii.gz").unlink()
    assert issues(two) == [("error", "volume", "manifest.jsonl:2 $.volume")]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_devices_and_pipes_are_not_waited_for(two, make):
    for name in ("a", "b"):
        (two.parent / f"{name}.nii.gz").unlink()
        make(two.parent / f"{name}.nii.gz")
    found = check_manifest(two, workers=2).issues
    of_volumes = [issue.message for issue in found if issue.check == "volume"]
    assert of_volumes == ["is a device or a pipe, not a file; copy it to a file"] * 2
