import json

import pytest
import torch

from selip_core.errors import DataError
from selip_core.evaluation import Lesion, lesion_relevance, read_truth


def lesion(kind="tumour", site="thalamus", laterality="left", volume_ml=4.0, seen=("T2",)):
    return Lesion(kind, site, laterality, volume_ml, frozenset(seen))


def test_grades_of_single_lesions():
    others = [
        [lesion()],
        [lesion(volume_ml=1.0)],
        [lesion(laterality="right")],
        [lesion(site="pons")],
        [lesion(kind="haemorrhage")],
        [lesion("haemorrhage", "pons", "right", 1.0)],
        [],
    ]
    grades = lesion_relevance([[lesion()]], others, "T2")
    assert grades[0].tolist() == pytest.approx([1.0, 0.925, 0.8, 0.7, 0.6, 0.025, 0.0])


def test_every_lesion_looks_for_its_counterpart():
    both = [lesion(), lesion("haemorrhage", "pons", "right", 4.0)]
    # Right: one lesion meets itself (1), backwards one meets itself (1), the other gains 0.1.
    grades = lesion_relevance([both], [[lesion()]], "T2")
    assert grades.item() == pytest.approx((1 + 1 + 0.1) / 3)
    torch.testing.assert_close(lesion_relevance([[lesion()]], [both], "T2"), grades)


def test_only_what_the_sequence_shows_counts():
    hidden = [lesion(seen=("DWI",))]
    assert lesion_relevance([hidden], [[], [lesion()], hidden], "T2").tolist() == [[1.0, 0.0, 1.0]]


def test_truth_is_read_by_study(tmp_path):
    path = tmp_path / "truth.jsonl"
    row = {"kind": "tumour", "site": "pons", "laterality": "", "volume_ml": 2, "visible_in": ["T1"]}
    path.write_text(json.dumps({"study": "a", "lesions": [row]}) + "\n")
    assert read_truth(path) == {"a": (lesion("tumour", "pons", "", 2.0, ["T1"]),)}


def test_all_bad_lines_are_told_without_their_content(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_text(
        '{"study": "secret"\n{"study": "secret"}\n{"study": "secret", "lesions": [1]}\n'
    )
    with pytest.raises(DataError, match=r"\(3 problems\)") as caught:
        read_truth(path)
    message = str(caught.value)
    assert "truth.jsonl:1: not valid JSON" in message
    assert "truth.jsonl:2: the key 'lesions' is missing" in message
    assert "truth.jsonl:3: expected a study" in message
    assert "secret" not in message
