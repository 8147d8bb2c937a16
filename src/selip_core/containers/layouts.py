"""Layouts of text: tables, settings, markup, and JSON that is not one object per line."""

import csv
import json
import re
from typing import Any

from selip_core.containers.signatures import Format
from selip_core.strict_json import json_path

SAMPLE = 1 << 16
"""Characters from the start of a text that are examined where the whole is not needed."""

WHOLE = 1 << 27
"""Characters of a text that are parsed at most to recognise its layout."""

_JQ = "convert it: jq -c '{filter}' OLD > NEW.jsonl"
_TABLE = (
    "convert it: python -c \"import pandas; pandas.read_csv('OLD', sep={separator!r}, dtype=str)"
    ".to_json('NEW.jsonl', orient='records', lines=True, force_ascii=False)\""
)
_DELIMITERS = {
    "\t": "a table with tabs (TSV)",
    ";": "a table with semicolons (CSV)",
    ",": "a table with commas (CSV)",
    "|": "a table with vertical bars",
}
_ARRAY = Format("one JSON array", _JQ.format(filter=".[]"))
_SPREAD = Format("a series of JSON objects, each over several lines", _JQ.format(filter="."))
_INDENTED = Format("one JSON object over several lines", _JQ.format(filter="."))
_JOINED = Format("a series of JSON objects without line ends between them", _JQ.format(filter="."))
_COMMAS = Format(
    "a series of JSON objects with commas between them",
    "put [ before and ] after them, then jq -c '.[]'",
)
_CARRIAGE = Format(
    "text whose lines end in carriage returns alone", "convert it: tr '\\r' '\\n' < OLD > NEW.jsonl"
)
_PYTHON = Format(
    "text of Python values (single quotes, True, None)",
    'convert it: python -c "import ast, json; [print(json.dumps(ast.literal_eval(line))) for line '
    "in open('OLD', encoding='utf-8')]\" > NEW.jsonl",
)
_COMMENTED = Format("JSON with comments", "remove the comments; JSON has none")
_SEQUENCE = Format("a JSON text sequence (RFC 7464)", "convert it: tr -d '\\036' < OLD > NEW.jsonl")
_LISTS = Format("a series of JSON lists", "write each row as an object with keys")
_COLUMNS = Format(
    "a table by columns in JSON",
    "write it by rows: pandas.read_json('OLD', dtype=str).to_json('NEW.jsonl', orient='records', "
    "lines=True, force_ascii=False)",
)
_BY_KEY = Format("one JSON object with a row under each key", _JQ.format(filter=".[]"))
_NAMED_TOML = Format("TOML", "settings in TOML have a name that ends in .toml")
_LINES = Format("JSON Lines", "give the settings, not the data")
_DOCUMENT = Format("JSON", "settings in JSON have a name that ends in .json")
_DOWNLOAD = "download the file itself; a page often asks to log in first"
_HTML = Format("an HTML page", _DOWNLOAD, _DOWNLOAD)
_XML = Format("XML", "export the data as JSON Lines")
_TOML = Format("a settings file (TOML or INI)", "give the data, or give this file as the settings")
_YAML = Format(
    "YAML",
    'convert it: python -c "import json, yaml; print(json.dumps('
    "yaml.safe_load(open('OLD', encoding='utf-8'))))\" > NEW.json",
)


def layout_of(text: str) -> Format | None:
    r"""Return the layout of text that is not JSON Lines, or None if it could be.

    Meant for text of which most lines cannot be read: JSON Lines with one bad line are still that.

    Example:
        >>> layout_of('[{"id": "a"},\n{"id": "b"}]').name
        'one JSON array'
        >>> layout_of("id;study\na;1\n").name
        'a table with semicolons (CSV)'
        >>> layout_of('{"id": "a"}\n{"id": 7}\n') is None
        True
    """
    stripped = text.strip(" \t\r\n\ufeff")
    head = stripped[:SAMPLE]
    if head.count("\r") > 1 and "\n" not in head:
        return _CARRIAGE
    if head.startswith("\x1e"):
        return _SEQUENCE
    if head.startswith("<"):
        return _HTML if re.match(r"<(!doctype\s+html|html|head|body)", head, re.I) else _XML
    if head.startswith(("{", "[")):
        return _settings(head) or _json_layout(stripped)
    settings = _settings(head)
    if settings is None and re.match(r"//|/\*|#[^\n]*\n\s*[{\[]", head):
        return _COMMENTED
    return settings or _table(head)


def document_layout_of(text: str) -> Format | None:
    r"""Return the layout of text that is not one JSON or TOML document, or None if it could be.

    Meant for text that cannot be parsed as the one that was wanted.

    Example:
        >>> document_layout_of('{"id": "a"}\n{"id": "b"}').name
        'JSON Lines'
        >>> document_layout_of("epochs: 2").name
        'YAML'
    """
    stripped = text.strip(" \t\r\n\ufeff")
    if _settings(stripped[:SAMPLE]) is _TOML:
        return _NAMED_TOML
    if not stripped.startswith(("{", "[")):
        return layout_of(text)
    try:
        _, end = json.JSONDecoder().raw_decode(stripped[:WHOLE])
    except (ValueError, RecursionError):
        known = _no_json_layout(stripped)
        return None if known in (_ARRAY, _SPREAD) else known
    return _LINES if stripped[end:].lstrip().startswith(("{", "[")) else _DOCUMENT


def _settings(head: str) -> Format | None:
    """Return TOML, INI or YAML by its first line that is no comment."""
    lines = [line for line in head.splitlines() if line.strip() and not re.match(r"\s*[#;]", line)]
    if not lines:
        return None
    if re.match(r"\[\[?[\w.\- ]+\]\]?\s*(#.*)?$", lines[0]) or re.match(r"[\w.-]+\s*=", lines[0]):
        return _TOML if any("=" in line for line in lines) else None
    if re.match(r"(---|%YAML)", lines[0]) or re.match(r"(- )?[\w-]+:(\s|$)", lines[0]):
        return _YAML
    return None


def _table(head: str) -> Format | None:
    """Return a table by the delimiter that its first lines have equally often."""
    lines = head.splitlines()[:5]
    whole = lines if len(head) < SAMPLE or len(lines) < 5 else lines[:4]
    for delimiter, name in _DELIMITERS.items():
        try:
            widths = {len(row) for row in csv.reader(whole, delimiter=delimiter) if row}
        except csv.Error:
            continue
        if len(widths) == 1 and widths.pop() > (1 if len(whole) > 1 else 2):
            return Format(name, _TABLE.format(separator=delimiter))
    return None


def _json_layout(text: str) -> Format | None:
    """Return the layout of a text that begins with a bracket."""
    try:
        value, end = json.JSONDecoder().raw_decode(text[:WHOLE])
    except (ValueError, RecursionError):
        return _no_json_layout(text)
    rest = text[end:].lstrip()
    if isinstance(value, list):
        return _LISTS if rest.startswith("[") else _ARRAY
    if not rest:
        return _single_object(value) or (_INDENTED if "\n" in text else None)
    if rest.startswith(","):
        return _COMMAS
    if "\n" not in text[end : len(text) - len(rest)]:
        return _JOINED if rest.startswith("{") else None
    return _SPREAD if "\n" in text[:end] else None


def _no_json_layout(text: str) -> Format | None:
    """Return the layout of a text that begins with a bracket, and whose first value is no JSON."""
    head = text[:SAMPLE]
    if re.match(r"[{\[]\s*[{\[]?\s*'", head) or re.search(r"[:,\[]\s*(True|False|None)\b", head):
        return _PYTHON
    if re.search(r"^\s*(//|/\*|#)", head, re.M):
        return _COMMENTED
    if head.startswith("["):
        return _ARRAY
    first_line, _, others = (part.strip() for part in head.partition("\n"))
    # A line that was cut, before lines that are whole, is one bad line of JSON Lines.
    goes_on = first_line.endswith(("{", "[", ":")) or (
        first_line.endswith(",") and not others.startswith("{") and not first_line.endswith("},")
    )
    return _SPREAD if others and (goes_on or others.startswith(("}", "]"))) else None


def _single_object(value: dict[str, Any]) -> Format | None:
    """Return where the rows are in a text that is one object."""
    for key, inner in value.items():
        if isinstance(inner, list) and inner and all(isinstance(each, dict) for each in inner):
            if key == "findings":
                continue
            path = json_path((key,)).removeprefix("$")
            return Format("one JSON object with a list in it", _JQ.format(filter=f"{path}[]"))
    if {"columns", "data"} <= value.keys():
        return _COLUMNS
    columns = [each for each in value.values() if isinstance(each, dict | list)]
    if len(columns) < max(2, len(value)):
        return None
    if all(isinstance(each, dict) and "id" not in each for each in columns) and "id" in value:
        return _COLUMNS
    return _BY_KEY
