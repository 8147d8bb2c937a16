from selip_core.findings import Finding, Report
from selip_core.recipes.similar_reports import choose_reports


def make_report(id, site, signal="high"):
    return Report(id=id, findings=(Finding(site=site, signal=signal),))


def test_normal_reports_first_then_groups_of_like_ones():
    reports = [
        make_report("a", "pons"),
        make_report("b", "insula", "low"),
        Report(id="n1", normal=True),
        make_report("c", "pons", "low"),
        make_report("d", "pons"),
        Report(id="n2", normal=True),
        Report(id="n3", normal=True),
    ]
    assert [report.id for report in choose_reports(reports, count=5)] == ["n1", "n2", "a", "d", "c"]


def test_takes_what_there_is():
    assert choose_reports([]) == []
    assert [report.id for report in choose_reports([make_report("a", "pons")])] == ["a"]
