import pytest
from hypothesis import given
from hypothesis import strategies as st

from selip_core.errors import DataError
from selip_core.findings import Finding, Report, read_reports, write_reports

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(certainty=JSON_VALUES, site=st.text(), ward=JSON_VALUES)
def test_round_trip_keeps_extra_keys(tmp_path_factory, certainty, site, ward):
    path = tmp_path_factory.mktemp("reports") / "reports.jsonl"
    reports = [
        Report(id="a", findings=[Finding(site=site, certainty=certainty)], ward=ward),
        Report(id="b", text="头颅未见异常", normal=True),
    ]
    write_reports(path, reports)
    assert read_reports(path) == reports


def test_all_problems_of_a_file_are_told_at_once_with_line_and_path(tmp_path):
    path = tmp_path / "reports.jsonl"
    path.write_text(
        '{"id": "a", "findings": [{"site": "pons"}, {"site": 7, "negated": "no"}]}\n'
        "\n"
        '{"id": "b"\n'
        '{"id": ""}\n'
        '{"text": "secret words"}\n'
        '{"id": "c", "normal": true, "findings": [{"site": "secret words"}]}\n'
        '["secret words"]\n'
        '{"id": "d"}\n'
        '{"id": "d"}\n',
        encoding="utf-8",
    )
    with pytest.raises(DataError) as caught:
        read_reports(path)
    places = [problem.where for problem in caught.value.problems]
    assert places == [
        "reports.jsonl:1 $.findings[1].site",
        "reports.jsonl:1 $.findings[1].negated",
        "reports.jsonl:3 $",
        "reports.jsonl:4 $.id",
        "reports.jsonl:5 $.id",
        "reports.jsonl:6 $",
        "reports.jsonl:7 $",
        "reports.jsonl:9 $.id",
    ]
    message = str(caught.value)
    assert "(8 problems)" in message
    assert "must be a string, got a number; put it in quotes" in message
    assert "secret words" not in message


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "reports.jsonl"
    path.write_bytes('\ufeff{"id": "a"}\r\n{"id": "b"}\r\n'.encode())
    assert [report.id for report in read_reports(path)] == ["a", "b"]


def test_bytes_that_are_not_utf8_are_a_problem_of_their_line(tmp_path):
    path = tmp_path / "reports.jsonl"
    path.write_bytes(b'{"id": "a"}\n{"id": "\xff"}\n')
    with pytest.raises(DataError, match=r"reports\.jsonl:2 \$"):
        read_reports(path)


def test_failed_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "reports.jsonl"
    write_reports(path, [Report(id="a")])

    def broken():
        yield Report(id="b")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_reports(path, broken())
    assert [report.id for report in read_reports(path)] == ["a"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cell", ["NaN", "-Infinity", "Infinity", "[1, NaN]", '{"a": {"b": NaN}}'])
def test_nan_in_a_file_is_a_problem_of_its_line(tmp_path, cell):
    path = tmp_path / "reports.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b", "findings": [{"lobe": ' + cell + "}]}\n")
    with pytest.raises(DataError) as caught:
        read_reports(path)
    (problem,) = caught.value.problems
    assert problem.where.startswith("reports.jsonl:2 $.findings[0].lobe")
    assert "NaN and Infinity are not JSON (RFC 8259, section 6); write null" in problem.message


def test_the_words_nan_and_null_differ(tmp_path):
    path = tmp_path / "reports.jsonl"
    path.write_text('{"id": "a", "findings": [{"lobe": "NaN", "side": null}]}\n')
    (finding,) = read_reports(path)[0].findings
    assert (finding.value("lobe"), finding.value("side")) == ("NaN", None)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('{"id": "a", "id": "b"}', "$.id"),
        ('{"id": "a", "findings": [{}, {"site": "x", "site": "x"}]}', "$.findings[1].site"),
        ('{"id": "a", "ward": {"b": {"c": 1, "\\u0063": 2}}}', "$.ward.b.c"),
    ],
)
def test_a_key_that_occurs_twice_is_refused_at_any_depth(tmp_path, line, where):
    path = tmp_path / "reports.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match="this key occurs twice in its object") as caught:
        read_reports(path)
    assert [problem.where for problem in caught.value.problems] == [f"reports.jsonl:1 {where}"]


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "reports.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"reports\.jsonl: is empty; it needs one report per line"):
        read_reports(tmp_path / "reports.jsonl")


def test_the_manifest_in_place_of_the_reports(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"id": "1", "volume": "a.nii", "split": "test", "report": "r"}\n' * 2)
    with pytest.raises(DataError, match=r"manifest\.jsonl: is a manifest: .* give the reports"):
        read_reports(path)
