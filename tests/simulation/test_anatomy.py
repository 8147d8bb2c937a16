import numpy as np
import pytest

from selip_core.simulation.anatomy import load_anatomy
from selip_core.simulation.grid import FIELD_OF_VIEW, Grid
from selip_core.simulation.sites import SITES


@pytest.fixture(scope="module")
def anatomy():
    return load_anatomy(8.0)


@pytest.mark.parametrize(
    ("millimetres", "tissue"),
    [
        ((25, -12, 38), 1),  # centrum semiovale
        ((-25, -12, 38), 1),
        ((0, -40, 12), 1),  # splenium
        ((44, -22, 55), 0),  # cortex of the hand knob
        ((-14, -34, 18), 2),  # atrium of the lateral ventricle
    ],
)
def test_tissue_lies_where_it_should(anatomy, millimetres, tissue):
    fine = load_anatomy(2.0)
    fractions = fine.sample(np.array([millimetres], dtype=np.float32))[:, 0]
    assert fractions.argmax() == tissue


def test_blur_keeps_the_amount_of_tissue(anatomy):
    fine = load_anatomy(2.0)
    for coarse_map, fine_map in zip(anatomy.tissues, fine.tissues, strict=True):
        volume = fine_map.sum() * fine.step**3
        assert coarse_map.sum() * anatomy.step**3 == pytest.approx(volume, rel=0.02)


def test_skips_only_places_without_tissue(anatomy):
    positions = Grid(8.0).positions()
    outside = anatomy.sample(positions[~anatomy.may_hold(positions)])
    assert outside.max() < 0.03


@pytest.mark.parametrize("name", SITES)
def test_every_site_has_room_for_lesions(anatomy, name):
    seeds = anatomy.seeds[name]
    assert len(seeds) > 100
    if SITES[name].lateral:
        assert seeds[:, 0].min() > 0
    else:
        assert abs(seeds[:, 0].mean()) < 1


@pytest.mark.parametrize("spacing", [1.0, 2.5, 4.0, 6.0])
def test_grid_covers_the_field_of_view_about_its_centre(spacing):
    grid = Grid(spacing)
    assert np.abs(np.array(grid.shape) * spacing - FIELD_OF_VIEW).max() <= spacing / 2
    middle = grid.affine @ [*(np.array(grid.shape) - 1) / 2, 1]
    np.testing.assert_allclose(middle, [0, -17, 5, 1])
    np.testing.assert_array_equal(np.diag(grid.affine)[:3], spacing)
