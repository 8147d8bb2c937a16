import gzip

import pytest

from selip_core.documents import read_json_document, read_toml_document
from selip_core.errors import DataError

JSON_CASES = {
    "NaN": ('{"a": {"b": NaN}}', "a.json a.b: NaN and Infinity are not JSON"),
    "two keys": ('{"a": 1, "a": 2}', "a.json a: this key occurs twice"),
    "place": ('{"a": 1,\n"b" 2}', "a.json:2: not JSON: a colon was expected"),
    "lines": ('{"a": 1}\n{"a": 2}\n', "a.json: is JSON Lines, not JSON"),
    "TOML": ("a = 1", "a.json: is TOML, not JSON; settings in TOML have a name that ends in .toml"),
    "YAML": ("a: 1\nb: 2", "a.json: is YAML, not JSON; convert it: "),
    "comments": ('// a\n{"a": 1}', "a.json: is JSON with comments"),
    "Python": ("{'a': None}", "a.json: is text of Python values"),
    "table": ("a,b\n1,2\n", "a.json: is a table with commas"),
    "gzip": (gzip.compress(b"{}"), "a.json: is compressed with gzip"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "a.json: is text in UTF-16LE"),
    "GBK": ('{"左侧额叶": 1}'.encode("gbk"), "a.json: is not in UTF-8; it looks like GB18030"),
    "empty": ("", "a.json: is empty"),
}
TOML_CASES = {
    "nan": ("[a]\nb = nan\nc = [1.0, inf]", "a.toml a.b: must be finite"),
    "two keys": ("a = 1\na = 2", "a.toml"),
    "place": ("a = 1\nb ; 2", "a.toml:2: not TOML: expected '='"),
    "JSON": ('{"a": 1}', "a.toml: is JSON, not TOML; settings in JSON have a name that ends in"),
    "YAML": ("a: 1", "a.toml: is YAML, not TOML"),
    "depth": ("a = " + "[" * 10000 + "]" * 10000, "a.toml: objects and lists may be nested"),
    "dotted keys": (".".join("a" * 1000) + " = 1", "a.toml: objects and lists may be nested"),
    "digits": ("a = " + "1" * 5000, "a.toml: not TOML: a number is too large"),
    "secret key": ("[jane]\na = 1\n[jane]\n", "not TOML: cannot declare a key twice"),
}


def message(read, path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match="cannot be read") as caught:
        read(path)
    return str(caught.value)


@pytest.mark.parametrize("case", JSON_CASES)
def test_json_that_is_refused(tmp_path, case):
    content, expected = JSON_CASES[case]
    assert expected in message(read_json_document, tmp_path / "a.json", content)


@pytest.mark.parametrize("case", TOML_CASES)
def test_toml_that_is_refused(tmp_path, case):
    content, expected = TOML_CASES[case]
    found = message(read_toml_document, tmp_path / "a.toml", content)
    assert expected in found
    assert found.count("\n") <= 2
    assert "jane" not in found


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le"])
def test_toml_in_another_encoding_is_still_toml(tmp_path, codec):
    found = message(read_toml_document, tmp_path / "a.toml", "epochs = 2\n".encode(codec))
    assert found.endswith("convert it: iconv -f UTF-16LE -t UTF-8 OLD > NEW")


def test_yaml_in_another_encoding_is_both(tmp_path):
    found = message(read_toml_document, tmp_path / "a.toml", "epochs: 2\n".encode("utf-16"))
    assert "is text in UTF-16LE, not in UTF-8" in found
    assert found.endswith("; then it is YAML, not TOML")


def test_all_numbers_that_are_not_finite_are_named(tmp_path):
    found = message(read_toml_document, tmp_path / "a.toml", "b = nan\n[a]\nc = [1.0, inf]")
    assert "(2 problems)" in found
    assert "a.c[1]: must be finite" in found


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b'\xef\xbb\xbf{"a":\r\n1}\r\n')
    assert read_json_document(path) == {"a": 1}
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\n[b]\r\n")
    assert read_toml_document(path) == {"a": 1, "b": {}}
