import base64

import numpy as np
import pytest

from selip_core.report.slices import draw_slice, slice_through


@pytest.fixture
def study():
    """A head of 12 x 14 x 10 voxels of 4 mm, with lesion 1 in two slices and lesion 2 in one."""
    volume = np.zeros((16, 18, 12), dtype=np.float32)
    volume[2:14, 2:16, 1:11] = 100
    mask = np.zeros(volume.shape, dtype=np.uint8)
    mask[3:7, 12:15, 4] = 1
    mask[3:6, 12:15, 5] = 1
    mask[11:13, 4:6, 5] = 2
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-30, -40, -20)
    return mask, volume, affine


def test_slice_cuts_most_lesions_then_most_area(study):
    assert slice_through(*study, labels=[1, 2]).index == 5
    assert slice_through(*study, labels=[1]).index == 4
    assert slice_through(*study, labels=[1]).mm == -4.0


def test_without_lesions_the_slice_is_in_the_middle_of_the_head(study):
    assert slice_through(*study, labels=[]).index in (5, 6)


def test_left_of_the_patient_is_on_the_right_and_front_is_up(study):
    lesions = slice_through(*study, labels=[1, 2]).lesions
    rows, columns = np.nonzero(lesions == 1)  # at small x, which is left, and large y, in front
    assert columns.mean() > lesions.shape[1] / 2
    assert rows.mean() < lesions.shape[0] / 2


def test_window_is_the_head_and_a_margin(study):
    assert slice_through(*study, labels=[1]).lesions.shape == (16, 14)


def test_drawing_is_a_png_in_the_page(study):
    plane = slice_through(*study, labels=[1, 2])
    shown = draw_slice(plane, study[1], visible=[1, 2], alt="T2")
    hidden = draw_slice(plane, study[1], visible=[], alt="T2")
    prefix, data = shown.source.split(",")
    assert prefix == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert shown.source != hidden.source
