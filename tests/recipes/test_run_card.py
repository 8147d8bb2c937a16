"""The card of a run: counts, settings, the last validation."""

import dataclasses

from selip_core.data import read_manifest
from selip_core.recipes.run_card import run_card

HISTORY = [
    {"epoch": 0, "step": 3, "validation": {"recall": 0.1, "chance": 0.05, "queries": 9}},
    {"epoch": 1, "step": 6, "validation": {"recall": 0.25, "chance": 0.05, "queries": 9}},
    {"epoch": 2, "step": 9},
]


def test_tells_what_the_run_knows(manifest, make_config):
    rows = read_manifest(manifest)
    card = run_card(make_config(), rows.select("train"), rows.select("validation"), HISTORY)
    assert "Trained on 18 volumes (DWI, T2) of 12 studies and 12 patients, with 18 r" in card.data
    assert "Validated on 6 volumes (DWI, T2) of 4 studies" in card.data
    assert card.training.startswith("9 steps in 3 epochs. ")
    assert '"target": "identical"' in card.training
    assert "Preprocessing(spacing=(8.0, 8.0, 8.0), size=(16, 16, 16)" in card.training
    assert card.metrics == {"R@1, image to text": 0.25, "R@1 by chance": 0.05}
    assert card.metrics_data.startswith("9 abnormal validation volumes")


def test_leaves_to_people_what_it_does_not_know(manifest, make_config):
    rows = read_manifest(manifest)
    card = run_card(make_config(), rows.select("train"), rows.select("train", ["FLAIR"]), [])
    assert (card.intended_use, card.limits, card.licence) == (None, None, None)
    assert (card.metrics, card.metrics_data) == ({}, None)
    assert "Validated" not in card.data


def test_tells_no_id_and_no_path(manifest, make_config, text_encoder):
    rows = read_manifest(manifest)
    told = str(dataclasses.asdict(run_card(make_config(), rows, rows, HISTORY)))
    assert text_encoder not in told
    assert str(manifest.parent) not in told
    for row in rows.rows:
        assert f"'{row.id}'" not in told
        assert row.volume not in told
