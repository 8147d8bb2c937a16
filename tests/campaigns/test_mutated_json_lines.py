"""Damaged manifests, reports and truths: refused in our own words, or read with nothing changed."""

import json
import random
from pathlib import Path

from selip_core.data.manifest_jsonl import scan_manifest
from selip_core.errors import DataError
from selip_core.evaluation import read_truth
from selip_core.findings import read_reports

SECRET = "Jane Doe 4711"
CODECS = ("utf-16", "utf-16-be", "utf-32-le", "gb18030", "big5", "shift_jis", "latin-1", "cp1252")
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 200 + "]" * 200)


def manifest_rows(count):
    for n in range(count):
        yield {
            "id": f"{SECRET} {n}", "study": f"{SECRET} s{n}", "patient": f"{SECRET} p{n}",
            "split": "train", "sequence": "T2", "volume": f"{SECRET} {n}.nii.gz",
            "report": f"{SECRET} r{n}", "note": f"{SECRET} 左侧 {n}", "age": n,
        }  # fmt: skip


def report_rows(count):
    for n in range(count):
        finding = {"site": f"{SECRET} 额叶", "lobe": f"{SECRET} é", "negated": False, "size": 3.5}
        yield {"id": f"{SECRET} r{n}", "text": f"{SECRET} {n}", "findings": [finding] * (n % 3)}


def truth_rows(count):
    for n in range(count):
        lesion = {"kind": SECRET, "site": SECRET, "laterality": None, "volume_ml": 1.5}
        yield {"study": f"{SECRET} s{n}", "lesions": [lesion | {"visible_in": [SECRET]}] * (n % 2)}


def read_manifest_rows(path):
    manifest, problems = scan_manifest(path)
    return dict(zip(manifest.lines, manifest.rows, strict=True)), problems


def read_all(reader):
    def read(path):
        try:
            return dict(enumerate(reader(path), 1)), []
        except DataError as error:
            return {}, list(error.problems)

    return read


KINDS = {
    "manifest.jsonl": (manifest_rows, read_manifest_rows),
    "reports.jsonl": (report_rows, read_all(read_reports)),
    "truth.jsonl": (truth_rows, read_all(lambda path: list(read_truth(path).items()))),
}


def flip_bit(draw, data, lines):
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def insert_bytes(draw, data, lines):
    place = draw.randrange(len(data))
    return data[:place] + draw.randbytes(draw.randint(1, 4)) + data[place:]


def cut(draw, data, lines):
    return data[: draw.randrange(len(data))]


def drop_range(draw, data, lines):
    start = draw.randrange(len(data))
    return data[:start] + data[start + draw.randint(1, 200) :]


def zeros(draw, data, lines):
    start = draw.randrange(len(data))
    return data[:start] + bytes(draw.randint(1, 300)) + data[start + 100 :]


def join_lines(draw, data, lines):
    return data.replace(b"\n", draw.choice([b"", b" ", b",", b",\n", b"\r", b"\n\n"]))


def swap_tokens(draw, data, lines):
    old, new = draw.sample([b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"'"], 2)
    return data.replace(old, new, draw.choice([1, 5, -1]))


def line_mutation(change):
    """A mutation of one line, drawn at random, as JSON text."""

    def mutate(draw, data, lines):
        number = draw.randrange(len(lines))
        changed = [*lines]
        changed[number] = change(draw, lines[number])
        return "\n".join(changed).encode() + b"\n"

    return mutate


def bad_number(draw, line):
    key = draw.choice(list(json.loads(line)))
    value = json.loads(line)[key]
    old = json.dumps(value, ensure_ascii=False)
    return line.replace(old, draw.choice(NUMBERS), 1)


def double_key(draw, line):
    key, value = draw.choice(list(json.loads(line).items()))
    return f"{{{json.dumps(key)}: {json.dumps(value)}, {line[1:]}"


def other_type(draw, line):
    row = json.loads(line)
    row[draw.choice(list(row))] = draw.choice([None, 7, True, [], {}, [SECRET], {SECRET: SECRET}])
    return json.dumps(row)


def drop_key(draw, line):
    row = json.loads(line)
    del row[draw.choice(list(row))]
    return json.dumps(row)


def python_text(draw, line):
    return str(json.loads(line))


def encode(draw, data, lines):
    return data.decode(errors="replace").encode(draw.choice(CODECS), errors="replace")


def one_array(draw, data, lines):
    return json.dumps([json.loads(line) for line in lines], indent=draw.choice([None, 1])).encode()


MUTATIONS = [
    *(flip_bit, insert_bytes, cut, drop_range, zeros, join_lines, swap_tokens, encode, one_array),
    *map(line_mutation, (bad_number, double_key, other_type, drop_key, python_text)),
]


def test_mutated_json_lines(campaign, tmp_path):
    """Manifests, reports and truths with damaged bytes, keys, numbers, lines or encodings"""
    for seed in campaign.seeds(300):
        with campaign.case(seed):
            draw = random.Random(seed)
            name = draw.choice(list(KINDS))
            make, read = KINDS[name]
            rows = list(make(draw.randint(1, 8)))
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            path = tmp_path / name
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            before, _ = read(path)
            assert len(before) == len(rows)
            data = path.read_bytes()
            for _ in range(draw.choice([1, 1, 2])):
                data = draw.choice(MUTATIONS)(draw, data, lines)
                if not data:
                    break
            path.write_bytes(data)
            check(path, read, before, lines)


def check(path: Path, read, before, lines):
    """Refuse what shows a value, or a row that differs from the one on an unchanged line."""
    after, problems = read(path)
    assert SECRET not in "\n".join(map(str, problems))
    assert len(problems) <= 3 * len(lines) + 3
    now = path.read_bytes().split(b"\n")
    for number, row in after.items():
        if (
            number <= len(now)
            and number <= len(lines)
            and now[number - 1] == lines[number - 1].encode()
        ):
            assert row == before[number]
    if path.name == "manifest.jsonl":  # the other readers return all rows or none
        unchanged = [n for n, line in enumerate(lines, 1) if now[n - 1 : n] == [line.encode()]]
        if 2 * len(unchanged) > len(lines):
            assert set(unchanged) <= after.keys()
