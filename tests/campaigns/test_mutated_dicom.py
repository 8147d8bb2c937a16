"""DICOM series with random damage: read exactly right, or refused without a value of the file."""

import random
import shutil
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from selip_core.data import read_volume
from selip_core.data.dicom_header import KEYWORDS
from selip_core.errors import DataError

WHERE = "manifest.jsonl:1 $.volume"
COUNT = 5
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless)
SYNTAXES = (*PLAIN, DeflatedExplicitVRLittleEndian)
CANARIES = {
    "PatientName": "CANARY^NAME",
    "PatientID": "CANARYID77",
    "AccessionNumber": "CANARYACC78",
    "StudyDescription": "CANARY DESCRIPTION",
    "StudyInstanceUID": "1.2.777.1",
    "SeriesInstanceUID": "1.2.777.2",
    "FrameOfReferenceUID": "1.2.777.3",
}
CORNER = [-83.9063, -91.2, 6.625]
OF_EACH_SLICE = ("RescaleSlope", "RescaleIntercept")
"""What may differ between slices: nothing in a file shows that a digit of it is wrong."""

CHANGEABLE = [name for name in KEYWORDS if name not in (*OF_EACH_SLICE, "ModalityLUTSequence")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the folder of a sound series by transfer syntax."""
    made = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for syntax in SYNTAXES:
            made[syntax] = tmp_path_factory.mktemp("series")
            for number in range(COUNT):
                slice_of(number, syntax).save_as(made[syntax] / f"IM{number}.dcm")
    return made


def pixels_of(number):
    return np.random.default_rng(number).integers(-2000, 2000, (32, 32)).astype("<i2")


def slice_of(number, syntax):
    dataset = dcmread(get_testdata_file("MR_small.dcm"))
    dataset.ImagePositionPatient = [*CORNER[:2], CORNER[2] + 2.5 * number]
    dataset.Rows = dataset.Columns = 32
    dataset.PixelData = pixels_of(number).tobytes()
    dataset.RescaleSlope, dataset.RescaleIntercept = "1.5", "-7"
    for keyword, value in CANARIES.items():
        setattr(dataset, keyword, value)
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def refusal(folder):
    """Return why a series is refused, or None if it is read exactly right."""
    try:
        volume = read_volume(folder, WHERE)
    except DataError as error:
        message = str(error)
        for value in (*CANARIES.values(), str(folder), "IM0", "-83.9", "6.62"):
            assert value not in message, f"shows a value: {message}"
        return message
    voxels = np.stack([pixels_of(number).T for number in range(COUNT)], axis=2) * 1.5 - 7
    affine = np.diag([-0.3125, -0.3125, 2.5, 1.0])
    affine[:3, 3] = [-CORNER[0], -CORNER[1], CORNER[2]]
    np.testing.assert_array_equal(volume.as_tensor()[0].numpy(), voxels.astype(np.float32))
    # Positions may be off by half a voxel, and gaps by 5 %, as the page on data says.
    np.testing.assert_allclose(volume.affine.numpy(), affine, rtol=0, atol=0.16)
    return None


@contextmanager
def one_of(folders, seed, tmp_path, syntaxes=SYNTAXES):
    """Yield a random generator and a fresh copy of a series."""
    generator = random.Random(seed)
    folder = tmp_path / str(seed)
    shutil.copytree(folders[generator.choice(syntaxes)], folder)
    yield generator, folder
    shutil.rmtree(folder)


def damageable(path):
    """Return where damage shows: before the pixels, except for what is of each slice."""
    content, dataset = path.read_bytes(), dcmread(path)
    at = set(range(128, dataset.get_item("PixelData").value_tell))
    for keyword in OF_EACH_SLICE:
        element = dataset.get_item(keyword)
        at -= set(range(element.value_tell, element.value_tell + element.length))
    return bytearray(content), sorted(at)


@pytest.mark.filterwarnings("ignore")  # pydicom's, of what is done to the files here
def test_flipped_bits(folders, campaign, tmp_path):
    """DICOM: bits flipped in the header of a slice."""
    for seed in campaign.seeds(60):
        with campaign.case(seed), one_of(folders, seed, tmp_path, PLAIN) as (generator, folder):
            path = generator.choice(sorted(folder.iterdir()))
            content, at = damageable(path)
            for _ in range(generator.choice((1, 1, 2, 8))):
                content[generator.choice(at)] ^= 1 << generator.randrange(8)
            path.write_bytes(content)
            refusal(folder)


def test_cut_files(folders, campaign, tmp_path):
    """DICOM: a slice cut anywhere."""
    for seed in campaign.seeds(40):
        with campaign.case(seed), one_of(folders, seed, tmp_path) as (generator, folder):
            path = generator.choice(sorted(folder.iterdir()))
            content = path.read_bytes()
            pixels, size = dcmread(path)["PixelData"], generator.randrange(len(content) - 1)
            path.write_bytes(content[:size])
            is_whole = size >= pixels.file_tell + len(pixels.value)  # only padding is cut
            assert is_whole == (refusal(folder) is None), f"cut to {size} of {len(content)} bytes"


ODD = (b"", b"x ", b"nan ", b"1e999 ", b"-1", b"0 ", b"7 ", b"1\\2\\3 ", b"CANARY^NAME ", b"\\ ")
ODD += (b"9" * 40, b"\xff\xff", b"\0\0", b"\x01\0", b"\0\x80", b"\0" * 8)


@pytest.mark.filterwarnings("ignore")
def test_changed_elements(folders, campaign, tmp_path):
    """DICOM: elements of a slice deleted or replaced by odd values."""
    for seed in campaign.seeds(60):
        with campaign.case(seed), one_of(folders, seed, tmp_path) as (generator, folder):
            path = generator.choice(sorted(folder.iterdir()))
            dataset = dcmread(path)
            keyword = generator.choice(CHANGEABLE)
            syntax = dataset.file_meta.TransferSyntaxUID
            if keyword in dataset and generator.random() < 0.3:
                delattr(dataset, keyword)
            else:
                tag, content = Tag(keyword), generator.choice(ODD)
                dataset[tag] = RawDataElement(
                    *(tag, dictionary_VR(tag), len(content), content, 0),
                    *(syntax == ImplicitVRLittleEndian, True),
                )
            dataset.save_as(path, enforce_file_format=False)
            refusal(folder)


def test_names_numbers_and_other_files(folders, campaign, tmp_path):
    """DICOM: other names and instance numbers, lost preambles, objects without pixels."""
    for seed in campaign.seeds(30):
        with campaign.case(seed), one_of(folders, seed, tmp_path) as (generator, folder):
            paths = sorted(folder.iterdir())
            names = generator.sample(range(1000), len(paths))
            for path, name in zip(paths, names, strict=True):
                if generator.random() < 0.3:
                    content = path.read_bytes()
                    path.write_bytes(content[132:])
                path.rename(folder / generator.choice(("{}", "{}.dcm", ".{}.IMA")).format(name))
            for other in generator.sample(("test-SR.dcm", "rtplan.dcm", "rtstruct.dcm"), 2):
                shutil.copy(get_testdata_file(other), folder)
            assert refusal(folder) is None, "a sound series was refused"


@pytest.mark.filterwarnings("ignore")
def test_lost_doubled_and_moved_slices(folders, campaign, tmp_path):
    """DICOM: slices lost within the series, doubled, moved or of another series."""
    for seed in campaign.seeds(40):
        with campaign.case(seed), one_of(folders, seed, tmp_path) as (generator, folder):
            paths = sorted(folder.iterdir())
            path = generator.choice(paths)
            change = generator.choice(("lose", "double", "move", "turn", "mix"))
            if change == "lose":
                paths[generator.randrange(1, COUNT - 1)].unlink()
            elif change == "double":
                shutil.copy(path, folder / generator.choice(("copy", "IM9.dcm", "IM0 (1).dcm")))
            else:
                dataset = dcmread(path)
                if change == "move":
                    axis, sign = generator.randrange(3), generator.choice((-1, 1))
                    dataset.ImagePositionPatient[axis] += sign * generator.uniform(0.4, 50)
                elif change == "turn":
                    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
                else:
                    dataset.SeriesInstanceUID = "1.2.777.9"
                dataset.save_as(path)
            assert refusal(folder), f"read in spite of {change}"
