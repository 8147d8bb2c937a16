"""A study on disk: one folder, written whole or not at all."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from selip_core.files import writing
from selip_core.simulation.study import Study

DESCRIPTION = b"simulated data (selip-core)"
COMPRESSION = 1
"""Level of gzip: noise hardly shrinks further, and higher levels cost time."""

MASK_NAME = "lesions"


def study_folder(out: Path, study: str) -> Path:
    """Return where a study's files are."""
    return out / "volumes" / study


def write_study(out: Path, study: Study) -> None:
    """Write images, mask and record of a study into a temporary folder, and rename that.

    Raises:
        WriteError: If a file cannot be written.
    """
    final = study_folder(out, study.visit.study)
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(final, partial):
            partial.mkdir(parents=True)
            for name, volume in {**study.volumes, MASK_NAME: study.mask}.items():
                (partial / f"{name}.nii.gz").write_bytes(encode_nifti(volume, study.grid.affine))
            record = json.dumps(_record(study), ensure_ascii=False)
            (partial / "study.json").write_text(record, encoding="utf-8")
            partial.replace(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def read_record(out: Path, study: str) -> dict[str, Any]:
    """Return the truth and the reports of a study that is on disk."""
    record: dict[str, Any] = json.loads(
        (study_folder(out, study) / "study.json").read_text(encoding="utf-8")
    )
    return record


def encode_nifti(volume: np.ndarray, affine: Float[np.ndarray, "4 4"]) -> bytes:
    """Return a volume as gzipped NIfTI-1, the same bytes for the same volume (no time stamp).

    Example:
        >>> data = encode_nifti(np.zeros((2, 2, 2), np.int16), np.eye(4))
        >>> data == encode_nifti(np.zeros((2, 2, 2), np.int16), np.eye(4))
        True
    """
    import nibabel

    image: Any = nibabel.Nifti1Image(volume, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = DESCRIPTION
    return gzip.compress(image.to_bytes(), compresslevel=COMPRESSION, mtime=0)


def _record(study: Study) -> dict[str, Any]:
    return {
        "truth": study.truth,
        "reports": [
            report.model_dump(mode="json", exclude_unset=True) for report in study.reports.values()
        ],
    }
