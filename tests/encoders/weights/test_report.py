"""What a report says where lists are long, and where anything is missing."""

from dataclasses import replace

import pytest

from selip_core.encoders.weights import LoadReport
from selip_core.pretrained.source import WeightsSource

REPORT = LoadReport(
    file="weights.safetensors",
    format="medicalnet",
    source=WeightsSource("medicalnet", "MIT", "https://example.org"),
    matched=("a", "b"),
    matched_parameters=999_999,
    encoder_parameters=1_000_000,
    used_parameters=999_999,
    file_parameters=2_000_000,
    adapted={f"layer{i}": "turned" for i in range(7)},
    unmatched_file=tuple(f"file{i}" for i in range(6)),
    unmatched_encoder=("lonely",),
    mismatched={},
    missing_buffers=(),
    untold={"stem": ("medicalnet", "paper"), "heads": (None, 12)},
    ignored=3,
    pooling_loaded=False,
)


@pytest.mark.parametrize(
    "line",
    [
        "matched             2 tensors, 999,999 of 1,000,000 parameters (99.9 %)",
        "used of the file    49.9 % of the stages that the encoder has; left out: 6 tensors, 3 of "
        "heads and the like",
        "adapted             layer0: turned",
        "                    ... and 2 more",
        "not in the file     lonely",
        "not in the encoder  file0, file1, file2, file3, file4 ... and 1 more",
        "missing buffers     none",
        "trained with        stem 'medicalnet'; the encoder has 'paper'",
        "                    heads not told by the file; the encoder has 12",
    ],
)
def test_is_a_table(line):
    assert line in str(REPORT).splitlines()


def test_an_encoder_without_parameters_fits_nothing():
    report = replace(REPORT, matched_parameters=0, encoder_parameters=0, file_parameters=0)
    assert report.share == 0.0
