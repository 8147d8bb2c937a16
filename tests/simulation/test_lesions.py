from collections import Counter

import numpy as np
import pytest

from selip_core.simulation.kinds import KINDS
from selip_core.simulation.lesions import draw, draw_lesions
from selip_core.simulation.sites import SITES


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    return [draw_lesions(rng, normal_share=0.4) for _ in range(2000)]


def frequencies(studies) -> Counter:
    return Counter(
        (one.kind.name, one.site.name, one.laterality) for lesions in studies for one in lesions
    )


def test_share_of_normal_studies(drawn):
    assert sum(not lesions for lesions in drawn) / len(drawn) == pytest.approx(0.4, abs=0.03)


def test_one_to_four_lesions_at_sites_of_their_own(drawn):
    assert {len(lesions) for lesions in drawn} == {0, 1, 2, 3, 4}
    for lesions in drawn:
        assert len({one.site.name for one in lesions}) == len(lesions)


def test_findings_have_a_long_tail(drawn):
    counts = sorted(frequencies(drawn).values(), reverse=True)
    total = sum(counts)
    assert sum(counts[:10]) > 0.4 * total
    assert sum(count <= total * 0.005 for count in counts) > 0.5 * len(counts)


def test_without_a_tail_kinds_are_equally_frequent():
    rng = np.random.default_rng(0)
    studies = [draw_lesions(rng, normal_share=0.0, tail=0.0)[0] for _ in range(1000)]
    counts = Counter(one.kind.name for one in studies)
    assert min(counts.values()) > 150


def test_midline_sites_have_no_side(drawn):
    for lesions in drawn:
        for one in lesions:
            assert (one.laterality is None) == (not one.site.lateral)
            assert one.radius <= max(one.site.largest_radius, one.kind.radius[0] + 1)


def test_a_weight_of_zero_is_never_drawn():
    rng = np.random.default_rng(0)
    assert {draw(rng, {"a": 1.0, "b": 0.0}, tail=0.0) for _ in range(50)} == {"a"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_kinds_use_known_sites_and_enough_of_them(kind):
    assert kind.sites.keys() <= SITES.keys()
    assert len(kind.sites) >= 4, "a study can have four lesions of one kind"
    assert sum(kind.sites.values()) == pytest.approx(1.0)
