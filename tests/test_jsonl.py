import gc

import pytest
from pydantic import TypeAdapter

from selip_core.jsonl import scan_json_lines

NUMBERS = TypeAdapter(dict[str, int]).validate_json


def scan(tmp_path, content):
    path = tmp_path / "numbers.jsonl"
    path.write_bytes(content)
    return scan_json_lines(path, NUMBERS)


def test_blank_lines_count_and_a_byte_order_mark_does_not_matter(tmp_path):
    rows, problems = scan(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"b": 2}')
    assert rows == {1: {"a": 1}, 4: {"b": 2}}
    assert problems == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"a": NaN}', "numbers.jsonl:2 $.a: NaN and Infinity are not JSON"),
        (b'{"a": "x"}', "numbers.jsonl:2 $.a: must be a whole number, got a string"),
        (b'{"a": \xff}', "numbers.jsonl:2 $: not JSON at column 7: not UTF-8"),
        (b"[1]", "numbers.jsonl:2 $: must be an object, got a list"),
    ],
)
def test_a_bad_line_is_told_and_the_others_are_kept(tmp_path, line, told):
    rows, problems = scan(tmp_path, b'{"a": 1}\n' + line + b'\n{"c": 3}\n')
    assert list(rows) == [1, 3]
    assert [str(problem)[: len(told)] for problem in problems] == [told]


def test_an_empty_file_has_no_rows(tmp_path):
    assert scan(tmp_path, b"") == ({}, [])


def test_a_line_beyond_the_limit_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr("selip_core.jsonl.LONGEST_LINE", 100)
    rows, problems = scan(tmp_path, b'{"a": 1}\n{"b": ' + b"1" * 100 + b"}\n")
    assert rows == {1: {"a": 1}}
    (problem,) = problems
    assert str(problem).startswith("numbers.jsonl:2 $: the line has 107 bytes, and at most 100")


def test_one_cause_on_most_lines_is_one_problem(tmp_path):
    lines = [b'{"a": "x"}'] * 50 + [b'{"a": NaN}', b'{"a": 1}']
    rows, problems = scan(tmp_path, b"\n".join(lines))
    assert list(rows) == [52]
    assert [str(problem)[:60] for problem in problems] == [
        "numbers.jsonl:1 $.a: must be a whole number, got a string (t",
        "numbers.jsonl:51 $.a: NaN and Infinity are not JSON (RFC 825",
    ]
    assert problems[0].message.endswith("(the first of 50 such lines of 52)")


def test_reading_leaves_the_collector_as_it_was(tmp_path):
    assert gc.isenabled()
    scan(tmp_path, b"{")
    assert gc.isenabled()
    gc.disable()
    try:
        scan(tmp_path, b"{}")
        assert not gc.isenabled()
    finally:
        gc.enable()
