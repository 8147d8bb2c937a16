from selip_core.report import retrieval_table
from selip_core.report.table import table_rows


def test_a_group_a_question_with_a_column_a_run(page):
    retrievals = {arm.name: arm.retrieval for arm in page.arms}
    groups = retrieval_table(retrievals, page.differences).split("\n\n")
    assert [group.partition(",")[0] for group in groups] == [
        sequence for sequence in ("T2", "DWI", "All sequences") for _ in range(4)
    ]
    title, header, *lines = groups[8].splitlines()
    assert title == "All sequences, abnormal volume -> report, 37 queries, gallery of 8.5"
    assert header.split() == ["Plain", "CLIP", "With", "similarity", "difference", "chance"]
    assert len(lines) == 5
    told = (
        "R@1 0.250 (0.125 - 0.625) 0.375 (0.188 - 0.688) +0.125 (+0.000 - +0.250) 0.125",
        "R@5 0.250 (0.125 - 0.625) 0.375 (0.188 - 0.688) 0.125",
    )
    assert tuple(" ".join(line.split()) for line in lines[:2]) == told
    assert {len(line) for line in lines} == {len(header)}
    assert groups[11].startswith("All sequences, normal or abnormal, 11 and 26 volumes")


def test_a_single_sequence_is_shown_once(page):
    retrieval = page.arms[0].retrieval
    section = retrieval["pooled"]
    table = retrieval_table({"value": {"sequences": {"T2": section}, "pooled": section}})
    assert table.count("T2, abnormal volume -> report") == 1
    assert "All" not in table
    assert "difference" not in table


def test_measures_that_one_run_lacks_are_left_out(page):
    section = page.arms[0].retrieval["pooled"]
    poorer = {"abnormal": {"image_to_text": {"gallery": 8.5, "R@5": section["abnormal"]}}}
    rows = table_rows([section, poorer], "abnormal", "image_to_text")
    assert [name for name, _ in rows] == ["R@5"]
