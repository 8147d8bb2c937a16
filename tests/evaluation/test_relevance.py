import pytest
import torch

from selip_core.evaluation import Lesion, lesion_relevance, same_kind


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


def test_kinds_in_common_among_those_shown():
    hidden = lesion("haemorrhage", seen=("DWI",))
    queries = [[lesion(), lesion("haemorrhage")], [hidden], []]
    gallery = [[lesion(site="pons")], [lesion("infarct")], [hidden, lesion("haemorrhage")], []]
    assert same_kind(queries, gallery, "T2").int().tolist() == [
        [1, 0, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert same_kind([[]], [[]], "T2").tolist() == [[False]]
