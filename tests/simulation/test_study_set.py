import json
import shutil
from pathlib import Path

import pytest

from selip_core.simulation import simulate


def make(out: Path, studies: int = 3, **options) -> Path:
    options = {"spacing": 8.0, "workers": 1, "progress": False, "normal_share": 0.2} | options
    return simulate(out, studies, **options)


def test_same_bytes_whatever_the_number_of_workers(tmp_path, hashes):
    make(tmp_path / "one", 4, workers=1)
    make(tmp_path / "two", 4, workers=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_another_seed_gives_other_images(tmp_path, hashes):
    make(tmp_path / "a", 1, seed=0)
    make(tmp_path / "b", 1, seed=1)
    volume = "volumes/sim-00000/T1.nii.gz"
    assert hashes(tmp_path / "a")[volume] != hashes(tmp_path / "b")[volume]


def test_more_studies_add_to_a_smaller_set(tmp_path, hashes):
    make(tmp_path / "grown", 2)
    make(tmp_path / "grown", 5)
    make(tmp_path / "whole", 5)
    assert hashes(tmp_path / "grown") == hashes(tmp_path / "whole")


def test_what_is_there_is_kept_and_what_is_missing_is_made(tmp_path, hashes):
    make(tmp_path)
    before = hashes(tmp_path)
    kept = tmp_path / "volumes" / "sim-00001" / "T1.nii.gz"
    written = kept.stat().st_mtime_ns
    shutil.rmtree(tmp_path / "volumes" / "sim-00002")
    (tmp_path / "manifest.jsonl").unlink()
    make(tmp_path)
    assert kept.stat().st_mtime_ns == written
    assert hashes(tmp_path) == before


def test_goes_on_after_an_interruption(tmp_path, hashes, monkeypatch):
    def interrupted(volume, affine, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) == 9:  # in the middle of the second study
            raise KeyboardInterrupt
        return b"not yet"

    make(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("selip_core.simulation.storage.encode_nifti", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "stopped")
    left = [path.name for path in (tmp_path / "stopped" / "volumes").iterdir()]
    assert left == ["sim-00000"], "the study at hand is neither half there nor left over"
    assert not (tmp_path / "stopped" / "manifest.jsonl").exists()
    shutil.rmtree(tmp_path / "stopped" / "volumes" / "sim-00000")
    make(tmp_path / "stopped")
    assert hashes(tmp_path / "stopped") == hashes(tmp_path / "whole")


def test_leaving_a_sequence_out_changes_no_other(tmp_path, hashes):
    make(tmp_path / "all", 2)
    manifest = make(tmp_path / "two", 2, sequences=["FLAIR", "DWI"])
    everything, two = hashes(tmp_path / "all"), hashes(tmp_path / "two")
    volumes = [name for name in two if name.endswith(".nii.gz")]
    assert {Path(name).name for name in volumes} == {
        "FLAIR.nii.gz",
        "DWI.nii.gz",
        "lesions.nii.gz",
    }
    assert {name: everything[name] for name in volumes} == {name: two[name] for name in volumes}
    assert len(manifest.read_text().splitlines()) == 4


def test_says_that_it_is_simulated(small_set):
    card = json.loads((small_set.out / "simulation.json").read_text())
    assert card["simulated"] is True
    assert "Simulated data" in card["description"]
    assert card["parameters"]["spacing"] == 8.0
    assert {"selip-core", "numpy"} <= card["versions"].keys()
    assert all(row.model_extra["simulated"] for row in small_set.manifest.rows)


def test_refuses_a_folder_made_with_other_parameters(tmp_path):
    make(tmp_path, 1)
    with pytest.raises(ValueError, match=r"other parameters \(seed was 0, is now 1\)"):
        make(tmp_path, 1, seed=1)


def test_refuses_fewer_studies_than_the_folder_holds(tmp_path, hashes):
    make(tmp_path, 2)
    before = hashes(tmp_path)
    with pytest.raises(ValueError, match="holds 2 studies, and 1 were asked for; ask for 2 or"):
        make(tmp_path, 1)
    assert hashes(tmp_path) == before


def test_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds files but no simulation\.json"):
        make(tmp_path)
    (tmp_path / "simulation.json").write_text("[]")
    with pytest.raises(ValueError, match="not a card that the simulator wrote"):
        make(tmp_path)


def test_refuses_a_folder_that_cannot_be_written_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "selip_core.simulation.study_set.simulate_study", lambda *_: pytest.fail("worked")
    )
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to the folder .*set: Not a directory"):
        make(tmp_path / "file" / "set")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"studies": 0}, "studies must be 1 or more, got 0"),
        ({"workers": 0}, "workers must be 1 or more, got 0"),
        ({"seed": -1}, "seed must be 0 or greater, got -1"),
        ({"spacing": 0.5}, "spacing must be between 1 and 10 mm, got 0.5"),
        ({"normal_share": 1.5}, "normal_share must be between 0 and 1, got 1.5"),
        ({"held_out_share": -1}, "held_out_share must be between 0 and 1, got -1"),
        ({"tail": -1.0}, "tail must be between 0 and 5, got -1.0"),
        ({"sequences": ["T9"]}, "sequences must be distinct and among .*got T9"),
        ({"sequences": []}, "got none"),
        ({"split": (0.5, 0.1, 0.1)}, "split must hold three shares"),
    ],
)
def test_refuses_arguments_out_of_range(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "never", **({"studies": 1} | options))
    assert not (tmp_path / "never").exists()
