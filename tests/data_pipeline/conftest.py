import json
from pathlib import Path

import nibabel
import numpy as np
import pytest


@pytest.fixture
def phantom():
    """A head-like block, brighter on its own right, front and top, in RAS at 4 mm."""
    voxels = np.random.default_rng(0).uniform(0.9, 1.1, (30, 36, 32)).astype(np.float32)
    voxels[:4] = voxels[-4:] = 0.0
    voxels[18:24, 8:14, 8:14] += 2.0  # right, back, low
    voxels[8:12, 24:30, 20:26] += 1.0  # left, front, high
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -60.0, -72.0, -64.0
    return nibabel.Nifti1Image(voxels, affine)


@pytest.fixture
def row():
    """Make a manifest row as a dictionary; the arguments replace or add keys."""

    def make(id="a", **keys):
        defaults = {
            "id": id,
            "study": f"study-{id}",
            "patient": f"patient-{id}",
            "split": "train",
            "sequence": "T2",
            "volume": f"{id}.nii.gz",
            "report": f"report-{id}",
        }
        return defaults | keys

    return make


@pytest.fixture
def write_set(tmp_path, phantom):
    """Write a manifest, its reports and a sound volume for each row; return the manifest's path."""

    def write(rows, reports=None) -> Path:
        if reports is None:
            names = sorted({row["report"] for row in rows})
            reports = [
                {"id": name, "findings": [{"site": f"place {name}"}], "text": name}
                for name in names
            ]
        for name, lines in [("manifest.jsonl", rows), ("reports.jsonl", reports)]:
            (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        for number, row in enumerate(rows):
            voxels = phantom.get_fdata(dtype=np.float32).copy()
            voxels[0, 0, 0] = number / 1000  # in the air; no two volumes are equal
            nibabel.save(nibabel.Nifti1Image(voxels, phantom.affine), tmp_path / row["volume"])
        return tmp_path / "manifest.jsonl"

    return write
