import numpy as np

from selip_core.simulation.deformation import draw_deformation, draw_waves, smooth_field
from selip_core.simulation.grid import Grid


def test_a_field_is_the_sum_of_its_cosines():
    waves = np.zeros((5, 5, 5))
    waves[1, 0, 2] = 3.0
    x, _, z = ((np.arange(n) + 0.5) / n for n in (4, 5, 6))
    expected = 3 * np.cos(np.pi * x)[:, None, None] * np.cos(2 * np.pi * z)[None, None, :]
    field = smooth_field(waves, (4, 5, 6))
    np.testing.assert_allclose(field, np.broadcast_to(expected, (4, 5, 6)), atol=1e-6)


def test_waves_have_the_size_asked_for():
    rng = np.random.default_rng(0)
    sizes = [smooth_field(draw_waves(rng, 3.0), (12, 12, 12)).std() for _ in range(50)]
    assert 2 < np.mean(sizes) < 3.5


def test_deformations_never_fold():
    grid = Grid(8.0)
    for seed in range(20):
        chance = np.random.default_rng(seed)
        moved = draw_deformation(chance, chance).to_template(grid) / grid.spacing
        jacobian = np.stack([np.stack(np.gradient(moved[..., i]), -1) for i in range(3)], -2)
        assert np.linalg.det(jacobian).min() > 0.2


def test_a_patient_keeps_the_head_and_lies_differently():
    def at(patient: int, visit: int) -> np.ndarray:
        return draw_deformation(np.random.default_rng(patient), np.random.default_rng(visit)).waves

    np.testing.assert_array_equal(at(1, 2), at(1, 3))
    assert not np.array_equal(at(1, 2), at(2, 2))
