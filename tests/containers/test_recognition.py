"""Files that are not what a command reads: one message with the cause and the conversion."""

import gzip
import io
import json
import os
import pickle
import re
import struct
import threading
import zipfile

import pytest

from selip_core.containers import JSON_LINES, WrongContainerError, read_container
from selip_core.data.manifest_jsonl import scan_manifest
from selip_core.errors import DataError
from selip_core.findings import read_reports

SECRET = "jane"
ROWS = [
    {"id": f"{SECRET} {n}", "text": f"{SECRET}: 左侧额叶见斑片状高信号影，第{n}例", "findings": []}
    for n in range(5)
]
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]
TEXT = "\n".join(LINES) + "\n"


def table(delimiter):
    return "\n".join(delimiter.join(str(cell) for cell in row.values()) for row in ROWS)


def archive(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name in names:
            opened.writestr(name, SECRET)
    return file.getvalue()


LAYOUTS = {
    "array": (json.dumps(ROWS), "is one JSON array, .* jq -c '.\\[\\]'"),
    "indented array": (json.dumps(ROWS, indent=1), "is one JSON array"),
    "object with a list": (json.dumps({"n": 1, "rows": ROWS}), r"with a list .*'\.rows\[\]'"),
    "rows by key": (json.dumps({row["id"]: row for row in ROWS}), "a row under each key"),
    "columns": (json.dumps({"id": {"0": SECRET}, "text": {"0": "x"}}), "a table by columns"),
    "split table": (json.dumps({"columns": ["id"], "index": [0], "data": [[1]]}), "by columns"),
    "indented objects": ("\n".join(json.dumps(row, indent=1) for row in ROWS), "over several"),
    "indented objects with an error": (
        "\n".join(json.dumps(row, indent=1) for row in ROWS).replace('",', '"'),
        "each over several lines",
    ),
    "one indented object": (json.dumps(ROWS[0], indent=1), "one JSON object over several lines"),
    "joined": ("".join(LINES), "without line ends between them"),
    "commas": (",\n".join(LINES), "with commas between them"),
    "lists": ("\n".join(json.dumps(list(row.values())) for row in ROWS), "series of JSON lists"),
    "Python": ("\n".join(map(str, ROWS)), "Python values .*ast.literal_eval"),
    "Python list": (str(ROWS), "text of Python values"),
    "None": ('{"id": "a", "text": None}\n' * 3, "text of Python values"),
    "comments": ("// rows\n{\n// x\n}", "JSON with comments"),
    "sequence": ("\x1e" + "\n\x1e".join(LINES), r"RFC 7464.*tr -d"),
    "carriage returns": (TEXT.replace("\n", "\r"), "carriage returns alone"),
    "commas in a table": (table(","), r"a table with commas \(CSV\).*read_csv"),
    "tabs": (table("\t"), r"a table with tabs \(TSV\)"),
    "semicolons": (table(";"), r"a table with semicolons \(CSV\)"),
    "HTML": ("<!DOCTYPE html>\n<html>jane</html>", "an HTML page"),
    "XML": ("<?xml version='1.0'?>\n<jane/>", "is XML"),
    "YAML": ("- id: jane\n  text: x\n", "is YAML"),
    "TOML": ("# jane\n[data]\nspacing = 1\n", r"settings file \(TOML or INI\)"),
    "Git LFS": ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "empty": ("", "empty"),
    "blank": ("\n \n", "empty"),
    "text": ("jane\nis\nwell\n", r"1 \$: not JSON at column 1: .*the first of 3 such lines of 3"),
}
BINARIES = {
    "gzip": (gzip.compress(TEXT.encode()), "is compressed with gzip, not.*gunzip"),
    "cut gzip": (gzip.compress(TEXT.encode())[:12], "compressed with gzip"),
    "NIfTI": (struct.pack("<i", 348) + bytes(400), "a NIfTI volume"),
    "NIfTI in gzip": (gzip.compress(struct.pack(">i", 348) + bytes(400)), "a NIfTI volume, compr"),
    "DICOM": (bytes(128) + b"DICM", "one DICOM file"),
    "zip": (archive("manifest.jsonl"), "a zip archive"),
    "XLSX": (archive("[Content_Types].xml", "xl/workbook.xml"), r"\(XLSX\).*read_excel"),
    "ODS": (archive("mimetype", "content.xml"), r"\(ODS\).*read_excel"),
    "PyTorch": (archive("archive/data.pkl"), "a weights file of PyTorch"),
    "cut zip": (archive("xl/workbook.xml")[:60], "a zip archive"),
    "Parquet": (b"PAR1" + bytes(9), "a Parquet file.*read_parquet"),
    "SQLite": (b"SQLite format 3\0", "an SQLite database"),
    "PDF": (b"%PDF-1.4\n%\xff\xff", "a PDF document"),
    "zstd": (b"\x28\xb5\x2f\xfd\0", "unzstd"),
    "safetensors": (struct.pack("<Q", 20) + b"{}" + bytes(60), "a safetensors file"),
    "NUL bytes": (bytes(1000), "begins with NUL bytes"),
    "UTF-16 table": (table("\t").encode("utf-16"), r"UTF-16LE.*; then it is a table with tabs"),
    "GBK table": (table(",").encode("gbk"), r"GB18030 .*; then it is a table with commas"),
    **{f"pickle {n}": (pickle.dumps(ROWS, protocol=n), "a pickle") for n in (0, 2, 5)},
    **{
        codec: (TEXT.encode(codec), rf"is text in {name}, .*iconv -f {name} -t UTF-8")
        for codec, name in [
            ("utf-16", "UTF-16LE"),
            ("utf-16-be", "UTF-16BE"),
            ("utf-32-le", "UTF-32LE"),
            ("gb18030", "GB18030"),
        ]
    },
}


@pytest.mark.parametrize("name", LAYOUTS | BINARIES)
@pytest.mark.parametrize("kind", ["reports", "manifest"])
def test_another_container_is_one_problem(tmp_path, name, kind):
    content, message = (LAYOUTS | BINARIES)[name]
    path = tmp_path / f"{kind}.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if kind == "manifest":
        problems = scan_manifest(path)[1]
    else:
        with pytest.raises(DataError) as caught:
            read_reports(path)
        problems = caught.value.problems
    (problem,) = problems
    assert re.search(message, str(problem)), problem
    assert problem.where.startswith(path.name)
    assert SECRET not in str(problem)


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(WrongContainerError, match=r"is a folder, not JSON Lines .*; name a file"):
        read_container(tmp_path, JSON_LINES)


def test_one_bad_line_among_good_ones_keeps_its_message(tmp_path):
    path = tmp_path / "reports.jsonl"
    lines = [*LINES, "id;text", '{"id": "a",}']
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_reports(path)
    assert [problem.where for problem in caught.value.problems] == [
        "reports.jsonl:6 $",
        "reports.jsonl:7 $",
    ]


def test_one_line_in_another_encoding_keeps_its_place(tmp_path):
    path = tmp_path / "reports.jsonl"
    path.write_bytes(TEXT.encode() + LINES[0].encode("gbk"))
    with pytest.raises(DataError, match=r"reports\.jsonl:6 \$: .*not UTF-8; it looks like GB18030"):
        read_reports(path)


def test_a_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(TEXT,), kwargs={"encoding": "utf-8"})
    writer.start()
    assert len(read_reports(path)) == len(ROWS)
    writer.join()
