import json
import os
import shutil

import numpy as np
import pytest

from selip_core.data import Manifest, ManifestRow
from selip_core.errors import DataError
from selip_core.findings import Report
from selip_core.recipes.data_record import DataRecord, data_changes, record_data

MIB = 2**20


@pytest.fixture
def volumes(tmp_path):
    """Four volumes of 2 MiB each, and a DICOM folder of thirty slices."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "data"
    (folder / "series").mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.nii.gz").write_bytes(generator.bytes(2 * MIB))
    for number in range(30):
        (folder / "series" / f"{number}.dcm").write_bytes(generator.bytes(1000))
    return folder


def manifest_of(folder, names=("0.nii.gz", "1.nii.gz", "2.nii.gz", "3.nii.gz", "series")):
    rows = tuple(
        ManifestRow(
            id=f"jane-{name}",
            study=name,
            patient=name,
            split="train",
            sequence="T2",
            volume=name,
            report=name,
        )
        for name in names
    )
    reports = {name: Report(id=name, text=f"a lesion in {name}") for name in names}
    return Manifest(folder / "manifest.jsonl", rows, reports, tuple(range(1, len(rows) + 1)))


def changes_of(folder, change):
    before = manifest_of(folder)
    record = record_data(before, [before])
    now = change(folder) or manifest_of(folder)
    return data_changes(record, record_data(now, [now], record.salt), now)


def replace_content(folder):
    (folder / "1.nii.gz").write_bytes(np.random.default_rng(1).bytes(2 * MIB))


def exchange_two(folder):
    shutil.move(folder / "1.nii.gz", folder / "x")
    shutil.move(folder / "2.nii.gz", folder / "1.nii.gz")
    shutil.move(folder / "x", folder / "2.nii.gz")


def change_the_end(folder):
    content = bytearray((folder / "0.nii.gz").read_bytes())
    content[-1] ^= 1
    (folder / "0.nii.gz").write_bytes(content)


def cut_short(folder):
    content = (folder / "0.nii.gz").read_bytes()
    (folder / "0.nii.gz").write_bytes(content[:-1])


def replace_a_slice(folder):
    (folder / "series" / "0.dcm").write_bytes(bytes(1000))


def remove_a_slice(folder):
    (folder / "series" / "17.dcm").unlink()


def rename_a_slice(folder):
    (folder / "series" / "17.dcm").rename(folder / "series" / "17a.dcm")


CHANGES = {
    replace_content: (2,),
    exchange_two: (2, 3),
    change_the_end: (1,),
    cut_short: (1,),
    replace_a_slice: (5,),
    remove_a_slice: (5,),
    rename_a_slice: (5,),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_volumes_are_found_by_line(volumes, change):
    changes = changes_of(volumes, change)
    assert changes.volumes == CHANGES[change]
    assert (changes.rows, changes.added, changes.removed) == ((), (), 0)


def test_times_and_places_do_not_count(volumes, tmp_path):
    def stage(folder):
        for path in folder.rglob("*"):
            os.utime(path, (0, 0))
        shutil.copytree(folder, tmp_path / "scratch")
        return manifest_of(tmp_path / "scratch")

    assert not changes_of(volumes, stage)


def test_changed_rows_are_found_by_line(volumes):
    def change(folder):
        manifest = manifest_of(folder, ("3.nii.gz", "1.nii.gz", "series"))
        manifest.reports["1.nii.gz"] = Report(id="1.nii.gz", text="no lesion")
        shutil.copy(folder / "0.nii.gz", folder / "4.nii.gz")
        more = manifest_of(folder, ("4.nii.gz",))
        rows, reports = manifest.rows + more.rows, manifest.reports | more.reports
        return Manifest(manifest.path, rows, reports, (1, 2, 3, 7))

    changes = changes_of(volumes, change)
    assert (changes.rows, changes.volumes, changes.added, changes.removed) == ((2,), (), (7,), 2)
    assert changes.describe("manifest.jsonl").splitlines() == [
        "  rows or reports that changed: 1, of manifest.jsonl lines 2",
        "  rows that are new: 1, of manifest.jsonl lines 7",
        "  rows that are gone: 2",
    ]


def test_all_missing_volumes_are_named_at_once(volumes):
    (volumes / "1.nii.gz").unlink()
    shutil.rmtree(volumes / "series")
    manifest = manifest_of(volumes)
    with pytest.raises(DataError) as caught:
        record_data(manifest, [manifest])
    assert [str(problem) for problem in caught.value.problems] == [
        "manifest.jsonl:2 $.volume: there is no such file or folder",
        "manifest.jsonl:5 $.volume: there is no such file or folder",
    ]


@pytest.mark.parametrize("link", [False, True])
def test_devices_and_pipes_are_not_waited_for(volumes, link):
    os.mkfifo(volumes / "series" / "pipe")
    (volumes / "1.nii.gz").unlink()
    if link:
        (volumes / "1.nii.gz").symlink_to("/dev/zero")
    else:
        os.mkfifo(volumes / "1.nii.gz")
    manifest = manifest_of(volumes)
    with pytest.raises(DataError) as caught:
        record_data(manifest, [manifest])
    assert [str(problem) for problem in caught.value.problems] == [
        "manifest.jsonl:2 $.volume: is a device or a pipe, not a file; copy it to a file",
    ]


def test_volumes_that_are_not_used_are_not_read(volumes):
    manifest = manifest_of(volumes)
    (volumes / "1.nii.gz").unlink()
    used = manifest_of(volumes, ("0.nii.gz",))
    record = record_data(manifest, [used])
    assert sum(volume != "" for _, volume in record.rows.values()) == 1


def test_a_record_is_read_as_it_was_written_and_names_nothing(volumes):
    manifest = manifest_of(volumes)
    record = record_data(manifest, [manifest])
    text = record.as_json()
    assert DataRecord.from_json(text) == record
    assert "jane" not in text
    assert "nii" not in text
    assert record_data(manifest, [manifest]).rows.keys().isdisjoint(record.rows.keys())


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"rows": 3, "salt": 1, "sha256": 2}'])
def test_a_damaged_record_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # of JSON or of this class
        DataRecord.from_json(text)


def test_an_edited_record_is_refused(volumes):
    manifest = manifest_of(volumes)
    content = json.loads(record_data(manifest, [manifest]).as_json())
    content["rows"].popitem()
    with pytest.raises(ValueError, match="another SHA-256"):
        DataRecord.from_json(json.dumps(content))
