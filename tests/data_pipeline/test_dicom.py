"""One folder, one series, one volume: read right, or refused with its cause."""

import gzip
import shutil
import struct

import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from selip_core.data import read_volume
from selip_core.errors import DataError

WHERE = "manifest.jsonl:12 $.volume"


def message_of(path):
    with pytest.raises(DataError) as caught:
        read_volume(path, WHERE)
    (problem,) = caught.value.problems
    assert problem.where == WHERE
    assert str(path) not in str(caught.value)
    return problem.message


def pixels_of(number):
    """Return the stored values (64, 64) of one slice: all different between slices."""
    return np.random.default_rng(number).integers(0, 4000, (64, 64)).astype("<i2")


def slices(positions=(0.0, 2.5, 5.0, 7.5), file="MR_small.dcm"):
    """Return pydicom's MR slice once per position along z, as data sets."""
    datasets = []
    for number, position in enumerate(positions):
        dataset = dcmread(get_testdata_file(file))
        dataset.ImagePositionPatient = [-83.9, -91.2, position]
        dataset.InstanceNumber = number + 1
        dataset.PixelData = pixels_of(number).tobytes()
        datasets.append(dataset)
    return datasets


def save(folder, datasets, name="{}.dcm"):
    folder.mkdir(exist_ok=True)
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / name.format(number), enforce_file_format=False)
    return folder


def expected_voxels(count=4):
    return torch.from_numpy(
        np.stack([pixels_of(number).T for number in range(count)], axis=2).astype(np.float32)
    )


def assert_is_the_volume(folder):
    volume = read_volume(folder, WHERE)
    torch.testing.assert_close(volume.as_tensor()[0], expected_voxels(), rtol=0, atol=0)
    # Columns of the slice run to the patient's left and rows to the back: both negative in RAS.
    affine = [[-0.3125, 0, 0, 83.9], [0, -0.3125, 0, 91.2], [0, 0, 2.5, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(volume.affine, torch.tensor(affine, dtype=torch.float64))


def test_a_series_lies_where_its_tags_say(tmp_path):
    assert_is_the_volume(save(tmp_path / "s", slices()))


@pytest.mark.parametrize("number", [1, 0, None, "absent", -3])
def test_instance_number_does_not_count(tmp_path, number):
    datasets = slices()
    for dataset in datasets:
        if number == "absent":
            del dataset.InstanceNumber
        else:
            dataset.InstanceNumber = number
    folder = save(tmp_path / "s", datasets[::-1])
    assert_is_the_volume(folder)


@pytest.mark.parametrize("name", ["{}", ".{}.dcm", "IM[*]{}", "1.2.840.{}", "{}.IMA", "slice {}"])
def test_names_do_not_count(tmp_path, name):
    assert_is_the_volume(save(tmp_path / "s[1]*", slices()[::-1], name))


def test_an_oblique_series(tmp_path):
    # Rows along (0, 1, 0), columns along (0, 0, -1): sagittal, the normal is (-1, 0, 0) in LPS.
    datasets = slices()
    for number, dataset in enumerate(datasets):
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        dataset.ImagePositionPatient = [10 - 2 * number, 20, 30]
        dataset.PixelSpacing = [0.5, 0.25]  # between rows, between columns
    affine = read_volume(save(tmp_path / "s", datasets), WHERE).affine
    expected = [[0, 0, 2, -10], [-0.25, 0, 0, -20], [0, -0.5, 0, 30], [0, 0, 0, 1]]
    torch.testing.assert_close(affine, torch.tensor(expected, dtype=torch.float64))


def test_a_single_slice_has_its_own_normal(tmp_path):
    (dataset,) = slices([0.0])
    dataset.ImageOrientationPatient, dataset.SliceThickness = [0, 1, 0, 0, 0, -1], 4.0
    affine = read_volume(save(tmp_path / "s", [dataset]), WHERE).affine
    torch.testing.assert_close(affine[:3, 2], torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64))


def test_each_slice_is_rescaled_once_by_its_own_scale(tmp_path):
    datasets = slices()
    for number, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = number + 0.5, -10
    volume = read_volume(save(tmp_path / "s", datasets), WHERE).as_tensor()[0]
    scaled = expected_voxels() * torch.tensor([0.5, 1.5, 2.5, 3.5]) - 10
    torch.testing.assert_close(volume, scaled, rtol=0, atol=0)


def test_hounsfield_units(tmp_path):
    (tmp_path / "s").mkdir()
    shutil.copy(get_testdata_file("CT_small.dcm"), tmp_path / "s")
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    volume = read_volume(tmp_path / "s", WHERE).as_tensor()
    hounsfield = dataset.pixel_array.T.astype(np.float32) + float(dataset.RescaleIntercept)
    torch.testing.assert_close(volume[0, :, :, 0], torch.from_numpy(hounsfield))


def implicit(dataset):
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def deflated(dataset):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


@pytest.mark.parametrize(
    "change", [implicit, deflated, lambda dataset: dataset.compress(RLELossless)]
)
def test_syntaxes_that_need_no_package(tmp_path, change):
    datasets = slices()
    for dataset in datasets:
        change(dataset)
    assert_is_the_volume(save(tmp_path / "s", datasets))


def test_big_endian(tmp_path):
    datasets = slices(file="MR_small_bigendian.dcm")
    for number, dataset in enumerate(datasets):
        dataset.PixelData = pixels_of(number).astype(">i2").tobytes()
    folder = save(tmp_path / "s", datasets)
    assert_is_the_volume(folder)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[end_of_meta(path) :])
    assert_is_the_volume(folder)


def end_of_meta(path):
    return 144 + struct.unpack("<I", path.read_bytes()[140:144])[0]


@pytest.mark.parametrize("cut", [132, "meta"])
def test_files_without_a_preamble_are_read(tmp_path, cut):
    folder = save(tmp_path / "s", slices())
    for path in list(folder.iterdir())[2:]:
        path.write_bytes(path.read_bytes()[end_of_meta(path) if cut == "meta" else cut :])
    assert_is_the_volume(folder)


def test_what_is_no_slice_is_left_out(tmp_path):
    folder = save(tmp_path / "s", slices(), "{}")
    shutil.copy(get_testdata_file("test-SR.dcm"), folder / "report")
    shutil.copy(get_testdata_file("rtstruct.dcm"), folder / "structures.dcm")
    shutil.copy(get_testdata_file("rtplan.dcm"), folder)
    private = slices()[0]
    private.SOPClassUID = private.file_meta.MediaStorageSOPClassUID = "1.3.12.2.1107.5.9.1"
    del private.PixelData, private.Rows, private.Columns
    private.save_as(folder / "private")
    (folder / "._1").write_bytes(b"\x00\x05\x16\x07\x00\x02" + bytes(100))
    (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1" + bytes(100))
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    (folder / "README").write_text("Slices of one patient.")
    (folder / "notes.txt").write_text("x")
    (folder / "preview.png").write_bytes(b"\x89PNG" + bytes(100))
    (folder / "other.dcm").mkdir()
    assert_is_the_volume(folder)


def test_bits_above_those_stored(tmp_path):
    overlaid, signed = slices(), slices()
    for dataset in overlaid:
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
        dataset.add_new(0x60000102, "US", 15)  # the overlay lies in the highest bit
        stored = np.frombuffer(dataset.PixelData, "<u2").copy()
        stored[::7] |= 0x8000
        dataset.PixelData = stored.tobytes()
    assert_is_the_volume(save(tmp_path / "overlaid", overlaid))
    for dataset in signed:
        dataset.BitsStored, dataset.HighBit = 12, 11
        stored = np.frombuffer(dataset.PixelData, "<u2") & 0x0FFF  # zeros above the sign
        dataset.PixelData = stored.tobytes()
    volume = read_volume(save(tmp_path / "signed", signed), WHERE).as_tensor()[0]
    values = expected_voxels()
    torch.testing.assert_close(volume, torch.where(values > 2047, values - 4096, values))
    del overlaid[1][0x60000102]
    message = message_of(save(tmp_path / "undeclared", overlaid))
    assert message.startswith("1 of 4 files cannot be read (1 with values beyond their BitsStored)")


def set_all(**tags):
    def change(datasets):
        for dataset in datasets:
            for keyword, value in tags.items():
                setattr(dataset, keyword, value)

    return change


def set_one(**tags):
    return lambda datasets: set_all(**tags)(datasets[2:3])


def remove(keyword, count=4):
    def change(datasets):
        for dataset in datasets[:count]:
            delattr(dataset, keyword)

    return change


def raw(tag, vr, content):
    """Set an element of one slice to bytes that pydicom would not write."""

    def change(datasets):
        dataset = datasets[1]
        del dataset[tag]
        dataset.add_new(tag, vr, content)

    return change


def move(number, *position):
    def change(datasets):
        datasets[number].ImagePositionPatient = list(position)

    return change


def tilt(datasets):
    for number, dataset in enumerate(datasets):
        dataset.ImagePositionPatient = [0, 0.5 * number, 2.5 * number]


def pair_echoes(datasets):
    for number, dataset in enumerate(datasets):
        dataset.ImagePositionPatient, dataset.EchoTime = [0, 0, number // 2], 10 + number % 2


def float_pixels(datasets):
    for dataset in datasets:
        dataset.FloatPixelData = pixels_of(0).astype("<f4").tobytes()
        del dataset.PixelData


def table(datasets):
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [1, 0, 16], "US"
    set_all(ModalityLUTSequence=[item])(datasets)


def shorter(datasets):
    datasets[1].PixelData = datasets[1].PixelData[:-2]


def longer(datasets):
    datasets[1].PixelData += b"\0\0"


def damaged_frames(datasets):
    for dataset in datasets[1:]:
        dataset.compress(RLELossless)
        dataset.PixelData = encapsulate([b"\0" * 100])


MR, SCREEN = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"

REFUSED = {
    "missing slice": (move(3, -83.9, -91.2, 10.0), "evenly spaced: 1 is missing between them"),
    "uneven": (move(3, -83.9, -91.2, 8.0), "1 of 3 gaps differ from the usual one by more than 5%"),
    "copy": (move(3, -83.9, -91.2, 5.0), "1 of 3 positions hold more than one image"),
    "echoes": (
        pair_echoes,
        "several volumes in one series: 2 images at each of 2 positions (such as b-values, echoes, "
        "time points, or copies of the files); they differ in EchoTime; separate them",
    ),
    "shifted": (move(2, -83.0, -91.2, 5.0), "half a voxel or more off the line"),
    "tilted": (tilt, "slices follow each other 11.3 degrees off their normal"),
    "localizer": (set_one(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "have 2 orientations"),
    "skewed": (
        set_all(ImageOrientationPatient=[1, 0, 0, 0.1, 1, 0]),
        "4 of 4 images have a wrong ImageOrientationPatient, where two perpendicular unit",
    ),
    "scaled": (set_all(ImageOrientationPatient=[1, 0, 0, 0, 1.1, 0]), "perpendicular unit vectors"),
    "zero": (set_all(ImageOrientationPatient=[0] * 6), "perpendicular unit vectors"),
    "nan": (raw(0x00200032, "DS", "nan\\0\\0"), "where 3 finite numbers are needed"),
    "two numbers": (raw(0x00200032, "DS", "1\\2"), "where 3 finite numbers are needed"),
    "no position": (remove("ImagePositionPatient", 1), "1 of 4 images has no ImagePositionPatient"),
    "no orientation": (remove("ImageOrientationPatient"), "4 of 4 images have no ImageOrientation"),
    "no spacing": (remove("PixelSpacing"), "4 of 4 images have no PixelSpacing"),
    "negative spacing": (set_all(PixelSpacing=[1, -1]), "a wrong PixelSpacing, where positive"),
    "zero spacing": (set_all(PixelSpacing=[0, 1]), "a wrong PixelSpacing, where positive"),
    "spacings": (set_one(PixelSpacing=[1, 1]), "slices differ in PixelSpacing"),
    "rows": (set_one(Rows=32), "slices differ in Rows"),
    "patients": (set_one(PatientID="other"), "slices differ in PatientID"),
    "frames of reference": (set_one(FrameOfReferenceUID="1.2"), "slices differ in FrameOfRefer"),
    "no columns": (remove("Columns"), "4 of 4 images have no Columns"),
    "series": (
        set_one(SeriesInstanceUID="1.2.3"),
        "expected one series, got 2 (SeriesInstanceUID) of 3 and 1 images; put each into",
    ),
    "multi-frame": (
        set_all(NumberOfFrames=2),
        "4 of 4 images: multi-frame or enhanced, which is not",
    ),
    "enhanced": (set_all(SOPClassUID=f"{MR}.1"), "dcm2niix -z y -f %s -o OUT FOLDER"),
    "mosaic": (set_all(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "a mosaic of slices"),
    "screen": (set_all(SOPClassUID=SCREEN), "a secondary capture, as of a screen"),
    "colour": (set_all(SamplesPerPixel=3), "in colour, not one grey channel"),
    "palette": (set_all(PhotometricInterpretation="PALETTE COLOR"), "in colour, not one grey"),
    "inverted": (set_one(PhotometricInterpretation="MONOCHROME1"), "1 of 4 images: MONOCHROME1"),
    "no photometric": (remove("PhotometricInterpretation"), "no PhotometricInterpretation"),
    "no samples": (remove("SamplesPerPixel"), "no SamplesPerPixel"),
    "float": (float_pixels, "4 of 4 images: pixels in floating point, which are not read"),
    "table": (table, "a ModalityLUTSequence, a table in place of a scale"),
    "one bit": (set_all(BitsAllocated=1, BitsStored=1, HighBit=0), "of whole numbers of 8, 16 or"),
    "high bit": (set_all(BitsStored=12, HighBit=15), "in the lowest BitsStored bits"),
    "sign": (set_all(PixelRepresentation=7), "not of whole numbers of 8, 16 or 32 bits"),
    "signs": (set_one(PixelRepresentation=0), "slices differ in PixelRepresentation"),
    "slope alone": (set_all(RescaleSlope=2), "4 of 4 images have no RescaleIntercept"),
    "some rescaled": (set_one(RescaleSlope=2, RescaleIntercept=0), "3 of 4 images have no Resc"),
    "slope 0": (set_all(RescaleSlope=0, RescaleIntercept=0), "a RescaleSlope is 0"),
    "units": (set_one(Units="BQML"), "slices differ in Units"),
    "rescale types": (set_one(RescaleType="HU"), "slices differ in RescaleType"),
    "shorter": (shorter, "1 of 4 files cannot be read (1 cut short)"),
    "longer": (longer, "1 of 4 files cannot be read (1 longer than their header says)"),
    "frames": (damaged_frames, "3 of 4 files cannot be read (3 damaged)"),
}


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what is written here
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_one_grey_volume_is_refused_by_its_name(tmp_path, name):
    change, message = REFUSED[name]
    datasets = slices()
    change(datasets)
    assert message in message_of(save(tmp_path / "s", datasets))


def test_letters_in_place_of_numbers(tmp_path):
    folder = save(tmp_path / "s", slices())
    content = (folder / "1.dcm").read_bytes()
    for wrong in (b"-8x.9", b"1e999"):
        (folder / "1.dcm").write_bytes(content.replace(b"-83.9", wrong))
        assert "1 of 4 images has a wrong ImagePositionPatient, where 3 finite numbers" in (
            message_of(folder)
        )


def test_a_single_slice_without_thickness(tmp_path):
    (dataset,) = slices([0.0])
    del dataset.SliceThickness
    assert "without a positive SliceThickness" in message_of(save(tmp_path / "s", [dataset]))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("liver_1frame.dcm", "dcm2niix -z y -f %s -o OUT FOLDER"),
        ("MR_truncated.dcm", "1 of 1 files cannot be read (1 cut short)"),
        ("SC_rgb_small_odd.dcm", "1 of 1 images: a secondary capture"),
        ("test-SR.dcm", "found only objects without pixels (1 Comprehensive SR Storage)"),
        (
            "MR_small_jpeg_ls_lossless.dcm",
            "compressed as JPEG-LS Lossless Image Compression, for which no decoder is installed: "
            "pip install pyjpegls",
        ),
    ],
)
def test_files_of_other_kinds(tmp_path, monkeypatch, file, message):
    from pydicom.pixels.decoders import JPEGLSLosslessDecoder

    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    (tmp_path / "s").mkdir()
    shutil.copy(get_testdata_file(file), tmp_path / "s")
    assert message in message_of(tmp_path / "s")


@pytest.mark.parametrize("size", [0, 100, 200, 400, 3000, 9000])
def test_a_slice_that_is_cut_anywhere(tmp_path, size):
    folder = save(tmp_path / "s", slices())
    (folder / "3.dcm").write_bytes((folder / "3.dcm").read_bytes()[:size])
    assert "1 of 4 files cannot be read (1 " in message_of(folder)


def test_a_slice_that_lost_its_prefix_or_its_target(tmp_path):
    folder = save(tmp_path / "s", slices(), "IM{}")
    content = bytearray((folder / "IM3").read_bytes())
    content[128] ^= 1
    (folder / "IM3").write_bytes(content)
    assert "1 of 4 files cannot be read (1 damaged)" in message_of(folder)
    (folder / "IM3").unlink()
    (folder / "IM3").symlink_to(tmp_path / "nowhere")
    assert "(1 empty, a broken link, or no longer DICOM)" in message_of(folder)


@pytest.mark.parametrize("content", [b"", b"I", b"<html>404</html>", bytes(range(1, 200))])
@pytest.mark.parametrize("name", ["IM{}", "{:08d}", "1.2.840.{}", ".IM{}"])
def test_a_last_slice_that_is_no_longer_dicom(tmp_path, name, content):
    folder = save(tmp_path / "s", slices(), name)
    (folder / name.format(3)).write_bytes(content)
    assert "(1 empty, a broken link, or no longer DICOM)" in message_of(folder)


def test_a_last_slice_that_is_compressed(tmp_path):
    folder = save(tmp_path / "s", slices(), "IM{}")
    (folder / "IM3.gz").write_bytes(gzip.compress((folder / "IM3").read_bytes()))
    (folder / "README.gz").write_bytes(gzip.compress(b"notes"))
    assert_is_the_volume(folder)
    (folder / "IM3").unlink()
    assert "1 of 4 files cannot be read" in message_of(folder)


def test_folders_without_slices(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    assert "found it empty" in message_of(folder)
    (folder / "notes.txt").write_text("x")
    assert "expected a folder with DICOM files, found none among 1 files" in message_of(folder)
    (folder / "T1.nii.gz").write_bytes(b"\x1f\x8b")
    assert "found 1 NIfTI files; name the file" in message_of(folder)
    (folder / "T1.nii.gz").rename(folder / "all.zip")
    assert "found 1 compressed files or archives; unpack them" in message_of(folder)
    (folder / "all.zip").unlink()
    save(folder / "series", slices())
    assert "name the subfolder that holds the series" in message_of(folder)


def test_a_series_over_several_folders(tmp_path):
    datasets = slices()
    folder = save(tmp_path / "s", datasets[:3])
    save(folder / "more", datasets[3:])
    assert "1 more images of this series lie in subfolders" in message_of(folder)
    datasets[3].SeriesInstanceUID = "1.2.3"
    save(folder / "more", datasets[3:])
    assert read_volume(folder, WHERE).shape == (1, 64, 64, 3)


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
    from selip_core.data import dicom_header

    folder = save(tmp_path / "s", slices())
    real = dicom_header._require_bounded

    def refuse(file, limit):
        if str(file.name).endswith("2.dcm"):
            raise PermissionError(13, "Permission denied", file.name)
        real(file, limit)

    monkeypatch.setattr(dicom_header, "_require_bounded", refuse)
    assert "1 of 4 files cannot be read (1 Permission denied)" in message_of(folder)


def test_the_limit_holds_before_pixels_are_read(tmp_path, monkeypatch):
    folder = save(tmp_path / "s", slices())
    monkeypatch.setenv("SELIP_MAX_VOLUME_GIB", str(4 * 64 * 64 * 4 / 2**30))
    assert_is_the_volume(folder)
    monkeypatch.setenv("SELIP_MAX_VOLUME_GIB", str(4 * 64 * 64 * 3 / 2**30))
    assert "more than the limit" in message_of(folder)


def test_a_deflated_file_is_unpacked_up_to_the_limit(tmp_path, monkeypatch):
    (dataset,) = slices([0.0])
    deflated(dataset)
    dataset.add_new(0x00091002, "OB", bytes(1 << 22))
    folder = save(tmp_path / "s", [dataset])
    assert read_volume(folder, WHERE).shape == (1, 64, 64, 1)
    monkeypatch.setenv("SELIP_MAX_VOLUME_GIB", str(2**20 / 2**30))
    assert "more than the limit" in message_of(folder)
