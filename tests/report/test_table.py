from selip_core.report.table import comparison_table, table_rows


def test_one_line_a_measure_with_both_arms(page):
    table = comparison_table({arm.name: arm.retrieval for arm in page.arms})
    header, *lines = table.splitlines()
    assert "Plain CLIP" in header
    assert "With similarity" in header
    assert len(lines) == 8
    told = "image to report R@1 0.25 (0.12-0.62) 0.38 (0.19-0.69) 0.12 8.5"
    assert " ".join(lines[0].split()) == told
    assert {len(line) for line in lines} == {len(header)}


def test_measures_that_one_arm_lacks_are_left_out(page):
    section = page.arms[0].retrieval["pooled"]
    poorer = {"abnormal": {"image_to_text": {"gallery": 8.5, "R@5": section["abnormal"]}}}
    rows = table_rows([section, poorer], "abnormal", "image_to_text")
    assert [name for name, _, _ in rows] == ["R@5"]
