"""Pretrained weights that know other volumes than a run prepares are told of."""

import warnings
from dataclasses import replace

import pytest

from selip_core.encoders import ImageEncoderSpec
from selip_core.recipes.config import DataConfig
from selip_core.recipes.preparation import prepared_spec, warn_other_preparation

DATA = DataConfig(spacing=(5, 1, 1))
SPEC = ImageEncoderSpec(1, (8,), ((2, 2, 2),), minimum_size=(2, 2, 2))


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (
            {"spacing": (1.0, 1.0, 1.0)},
            r"spacing: \(1, 1, 1\) mm there, \(5, 1, 1\) mm here; data\.spacing sets it",
        ),
        ({"intensity": "CT, 0 to 1"}, "intensity: CT, 0 to 1 there, clipped at percentiles 0.5 a"),
        ({"orientation": "RAS"}, "axes grow to: RAS there, SAR here"),
    ],
)
def test_each_difference_is_told(known, told):
    with pytest.warns(UserWarning, match=told) as caught:
        warn_other_preparation(replace(SPEC, **known), DATA)
    assert len(str(caught[0].message).splitlines()) == 3


def test_another_percentile_is_another_intensity():
    trained = prepared_spec(SPEC, DataConfig(spacing=(5, 1, 1), percentiles=(1, 99)))
    with pytest.warns(UserWarning, match="percentiles 1 and 99, then .* there, clipped at .* 0.5"):
        warn_other_preparation(trained, DATA)


def test_nothing_is_told_of_what_is_equal_or_not_known():
    trained_here = prepared_spec(SPEC, DATA)
    almost = replace(trained_here, spacing=(5.004, 1.0, 0.999))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for spec in (SPEC, trained_here, almost):
            warn_other_preparation(spec, DATA)


def test_a_trained_encoder_knows_the_volumes_of_its_run():
    spec = prepared_spec(replace(SPEC, orientation="RAS", spacing=(1.0, 1.0, 1.0)), DATA)
    assert (spec.orientation, spec.spacing) == ("SAR", (5.0, 1.0, 1.0))
    assert spec.intensity.startswith("clipped at percentiles 0.5 and 99.99")
