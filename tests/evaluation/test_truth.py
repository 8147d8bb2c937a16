import json

import pytest

from selip_core.errors import DataError
from selip_core.evaluation import Lesion, read_truth

LESION = {"kind": "tumour", "site": "pons", "laterality": None, "volume_ml": 2}


def test_truth_is_read_by_study(tmp_path):
    path = tmp_path / "truth.jsonl"
    lesion = LESION | {"visible_in": ["T1"], "label": 3, "stage": "low grade"}
    path.write_text(json.dumps({"study": "a", "lesions": [lesion], "split": "test"}) + "\n")
    assert read_truth(path) == {"a": (Lesion("tumour", "pons", None, 2.0, frozenset({"T1"}), 3),)}


def test_only_a_line_feed_ends_a_line(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_bytes('\ufeff\n{"study": "a\u2028b", "lesions": []}\r\n'.encode())
    assert list(read_truth(path)) == ["a\u2028b"]


def test_all_bad_lines_are_told_without_their_content(tmp_path):
    path = tmp_path / "truth.jsonl"
    unknown = json.dumps({"study": "secret", "lesions": [LESION | {"visible_in": ["T1"]}]})
    path.write_text(
        '{"study": "secret"\n'
        '{"study": "secret"}\n'
        '{"study": "secret", "lesions": [1]}\n'
        f"{unknown.replace('2', 'NaN', 1)}\n"
        '{"study": "secret", "lesions": []}\n'
        '{"study": "secret", "lesions": []}\n'
    )
    with pytest.raises(DataError, match=r"\(5 problems\)") as caught:
        read_truth(path)
    message = str(caught.value)
    assert "truth.jsonl:1 $: not JSON at column 19" in message
    assert "truth.jsonl:2 $.lesions: this key is missing" in message
    assert "truth.jsonl:3 $.lesions[0]: must be an object, got a number" in message
    assert "truth.jsonl:4 $.lesions[0].volume_ml: NaN and Infinity are not JSON" in message
    assert "truth.jsonl:6 $.study: line 5 has this study too" in message
    assert "secret" not in message
