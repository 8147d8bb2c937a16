import json

import pytest

from selip_core.strict_json import JsonError, json_path, parse_json


@pytest.mark.parametrize(
    "text", ["1", '"a"', "null", "[]", '{"a": [1.5, {"b": true}]}', '"\\u0000"']
)
def test_json_is_read(text):
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "path", "cause"),
    [
        ("NaN", "$", "NaN and Infinity are not JSON"),
        ('{"a": [0, -Infinity]}', "$.a[1]", "NaN and Infinity are not JSON"),
        ('{"a": 1e999}', "$.a", "too large"),
        ('{"a": ' + "9" * 5000 + "}", "$.a", "too large"),
        ('{"a": 1, "a": 1}', "$.a", "occurs twice"),
        ('[{"a": {"b": 1, "b": 2}}]', "$[0].a.b", "occurs twice"),
        ('{"p 7": {"b": 1, "b": 2}}', "$.*.b", "occurs twice"),
        ("[" * 101 + "]" * 101, "$", "nested 100 deep"),
        ("[" * 100_000 + "]" * 100_000, "$", "nested 100 deep"),
        ("[" * 100_000, "$", "nested 100 deep"),
        ('{"a": 1', "$", "ends within"),
        ("", "$", "ends within"),
        ('{"a": 1} {', "$", "more follows"),
        ('{"a": "\0"}', "$", "NUL bytes"),
        ('{"a": 1,}', "$", "comma before"),
        ("{'a': 1}", "$", "double quotes"),
        ("// a\n{}", "$", "no comments"),
    ],
    ids=range(17),
)
def test_what_is_refused(text, path, cause):
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    (fault,) = caught.value.faults
    assert fault.path == path
    assert cause in fault.cause


def test_a_hundred_levels_are_read():
    assert parse_json("[" * 100 + "]" * 100)


def test_all_faults_of_a_text_at_once():
    with pytest.raises(JsonError) as caught:
        parse_json('{"a": NaN, "b": [1e999], "a": 1}')
    assert [fault.path for fault in caught.value.faults] == ["$.a", "$.b[0]", "$.a"]


def test_keys_that_could_be_ids_are_not_shown():
    assert json_path(("Jane Doe", 3, "site", "p7")) == "$.*[3].site.*"
