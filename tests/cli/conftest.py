"""A data set in which everything that can name a patient is a word that is found again."""

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

CANARIES = {
    "patient ids": "CanaryPatient",
    "other ids": "CanaryIdentifier",
    "words": "CanaryWord",
    "paths of volumes": "CanaryVolume",
    "headers of volumes": "CanaryHeader",
}

WORDS = ("high", "signal", "in", "the", "left", "right", "frontal", "lobe", "pons", "no", "lesion")
SPLITS = ("train",) * 8 + ("validation",) * 4 + ("test",) * 4
SIDE = 12


@dataclass(frozen=True)
class DataSet:
    """Lines of a manifest and of its reports, and the folder with the volumes."""

    folder: Path
    rows: list[dict]
    reports: list[dict]

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.jsonl"

    def write(self) -> Path:
        for name, lines in (("manifest", self.rows), ("reports", self.reports)):
            text = "".join(
                f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines
            )
            (self.folder / f"{name}.jsonl").write_text(text)
        return self.manifest


def make_data(folder: Path) -> DataSet:
    """Return sixteen studies of one volume: NIfTI, and a DICOM folder for each fourth."""
    generator = np.random.default_rng(0)
    rows, reports = [], []
    for number, split in enumerate(SPLITS):
        volume = f"CanaryVolumeFolder{number}/CanaryVolume{number}"
        (folder / volume).parent.mkdir(parents=True)
        voxels = generator.normal(100, 20, size=(SIDE,) * 3)
        if number % 4:
            volume += ".nii.gz"
            save_nifti(folder / volume, voxels, number)
        else:
            save_dicom(folder / volume, voxels, number)
        site, normal = ("frontal lobe", "pons", "left lobe")[number % 3], number % 3 == 2
        words = {
            "site": f"{site} CanaryWordSite{number}",
            "signal": f"CanaryWordSignal{number % 2}",
        }
        finding = {**words, "text": f"CanaryWordFinding{number}", "note": f"CanaryWordNote{number}"}
        reports.append(
            {
                "id": f"CanaryIdentifierReport{number}",
                "text": "no lesion."
                if normal
                else f"high signal in the {site} CanaryWordText{number}.",
                "findings": [] if normal else [finding],
                "normal": normal,
            }
        )
        rows.append(
            {
                "id": f"CanaryIdentifierRow{number}",
                "study": f"CanaryIdentifierStudy{number}",
                "patient": f"CanaryPatient{number}",
                "split": split,
                "sequence": "T2",
                "volume": volume,
                "report": f"CanaryIdentifierReport{number}",
                "remark": f"CanaryWordRemark{number}",
            }
        )
    return DataSet(folder, rows, reports)


def save_nifti(path: Path, voxels: np.ndarray, number: int) -> None:
    image = nib.Nifti1Image(voxels.astype(np.float32), np.diag([8, 8, 8, 1]))
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = f"CanaryHeader{number}"[:15]
    nib.save(image, path)


def save_dicom(folder: Path, voxels: np.ndarray, number: int) -> None:
    folder.mkdir()
    series = generate_uid()
    for place, plane in enumerate(voxels.astype(np.uint16)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        name = folder / f"CanaryVolumeSlice{place}.dcm"
        slice_ = FileDataset(str(name), {}, file_meta=meta, preamble=b"\0" * 128)
        for tag in ("PatientName", "PatientID", "InstitutionName", "StudyDescription"):
            setattr(slice_, tag, f"CanaryHeader{tag}{number}")
        slice_.AccessionNumber = "CanaryHeaderAcc"
        slice_.ReferringPhysicianName = "CanaryHeaderPhysician"
        slice_.SOPClassUID, slice_.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.SeriesInstanceUID, slice_.StudyInstanceUID, slice_.Modality = series, series, "MR"
        slice_.InstanceNumber, slice_.SliceThickness, slice_.PixelSpacing = place + 1, 8, [8, 8]
        slice_.ImagePositionPatient = [0, 0, 8 * place]
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.Rows = slice_.Columns = SIDE
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
        slice_.PixelRepresentation = 0
        slice_.PixelData = plane.tobytes()
        slice_.save_as(name, enforce_file_format=True)


@pytest.fixture(scope="session")
def canaries() -> dict[str, str]:
    """By kind, what every planted text of that kind begins with."""
    return CANARIES


@pytest.fixture(scope="session")
def good_data(tmp_path_factory) -> DataSet:
    """A data set that can be used."""
    data = make_data(tmp_path_factory.mktemp("data"))
    data.write()
    return data


def copied(data: DataSet, folder: Path) -> DataSet:
    """Return a copy that may be spoilt."""
    shutil.copytree(data.folder, folder)
    lines = json.loads(json.dumps([data.rows, data.reports]))
    return DataSet(folder, *lines)


@pytest.fixture(scope="session")
def faulty_volumes(good_data, tmp_path_factory) -> DataSet:
    """A data set whose volumes have every fault."""
    data = copied(good_data, tmp_path_factory.mktemp("faulty") / "volumes")
    paths = [data.folder / row["volume"] for row in data.rows]
    paths[1].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:2000])
    save_nifti(paths[3], np.full((SIDE,) * 3, np.nan), 3)
    (paths[4] / "CanaryVolumeSlice5.dcm").write_bytes(b"CanaryHeader, no DICOM")
    paths[5].write_bytes(b"CanaryHeader, no NIfTI")
    save_nifti(paths[6], np.full((SIDE,) * 3, 7.0), 6)
    flipped = bytearray(paths[7].read_bytes())
    flipped[len(flipped) // 2] ^= 64
    paths[7].write_bytes(bytes(flipped))
    for one in list(paths[8].iterdir())[:4]:
        one.unlink()
    save_nifti(paths[9], np.zeros((SIDE, SIDE)), 9)
    data.reports.append({"id": "CanaryIdentifierUnused", "text": "no lesion.", "normal": True})
    wrong = pydicom.dcmread(next(paths[12].iterdir()))
    wrong.Rows = 3
    with warnings.catch_warnings(action="ignore"):
        wrong.PatientAge = "CanaryHeaderAge"  # no age: pydicom warns of it, with the value
    wrong.save_as(next(paths[12].iterdir()))
    data.write()
    return data


@pytest.fixture(scope="session")
def faulty_lines(good_data, tmp_path_factory) -> DataSet:
    """A data set whose manifest and reports have every fault."""
    data = copied(good_data, tmp_path_factory.mktemp("faulty") / "lines")
    rows, reports = data.rows, data.reports
    rows[0]["split"] = "CanaryWordSplit"
    rows[1]["sequence"] = "CanaryWordSequence"
    rows[2]["patient"] = 7
    rows[3]["id"] = rows[4]["id"]
    rows[5]["report"] = "CanaryIdentifierNowhere"
    rows[6]["volume"] = "/CanaryVolumeAbsolute/volume.nii.gz"
    rows[7]["patient"] = rows[9]["patient"]
    rows[11]["study"] = rows[12]["study"]
    rows.append('{"id": "CanaryIdentifierOpen", "patient": "CanaryPatientOpen')
    rows.append("CanaryPatientName;CanaryIdentifierCsv;CanaryVolumeCsv")
    reports[0]["findings"][0]["negated"] = "CanaryWordNegated"
    reports[1]["findings"] = "CanaryWordFindings"
    reports[3]["id"] = reports[4]["id"]
    reports[6]["normal"] = True
    reports[7]["text"] = ["CanaryWordList"]
    reports.append('{"id": "CanaryIdentifierTwice", "id": "CanaryIdentifierTwice", "text": "a"}')
    reports.append('{"id": "CanaryIdentifierNan", "findings": [{"size": NaN}]}')
    reports.append("CanaryWordOpen {")
    data.write()
    return data


@pytest.fixture(scope="session")
def settings_file(tmp_path_factory) -> Path:
    """Settings of a run of a second or two, with a random BERT."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "."]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=8)
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    size = {"intermediate_size": 32, "max_position_embeddings": 8}
    BertModel(BertConfig(**shape, **size, vocab_size=len(vocabulary))).save_pretrained(folder)
    path = folder / "settings.json"
    settings = {
        "embed_dim": 8,
        "epochs": 2,
        "tracker": "tensorboard",
        "data": {"spacing": [8, 8, 8], "size": [16, 16, 16], "batch_size": 4, "workers": 1},
        "image_encoder": {
            "name": "resnet10",
            "pooling": "avg",
            "options": {"width": 0.125, "stem": "cubic"},
        },
        "text_encoder": {"name": str(folder)},
    }
    path.write_text(json.dumps(settings))
    return path
