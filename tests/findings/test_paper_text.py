import pytest

from selip_core.findings import PAPER_NORMAL_TEXT, parse_paper_text


def test_statements_become_findings():
    report = parse_paper_text(
        "T2，在左侧额叶表现为片状高信号。ADC，脑干表现为软化灶", has_modality=True
    )
    first, second = report.findings
    assert (first.modality, first.site, first.signal) == ("T2", "左侧额叶", "高信号")
    assert first.text == "左侧额叶片状高信号"
    assert (second.modality, second.site, second.signal) == ("ADC", "脑干", "软化灶")


def test_order_of_the_signals_decides_not_the_order_in_the_text():
    assert parse_paper_text("在鞍区表现为低信号内见高信号").findings[0].signal == "高信号"


def test_third_piece_is_the_signal_and_not_part_of_the_words():
    finding = parse_paper_text("在脑干表现为高信号表现为X").findings[0]
    assert (finding.signal, finding.text) == ("X", "脑干高信号")


def test_normal_text_is_recognised_by_equality():
    assert parse_paper_text(PAPER_NORMAL_TEXT).normal
    assert parse_paper_text("未见异常", normal_text="未见异常").normal


def test_equal_texts_are_one_report_unless_named():
    text = "在脑干表现为高信号"
    assert parse_paper_text(text).id == parse_paper_text(text).id
    assert parse_paper_text(text, id="x").id == "x"


def parse_case(case):
    return [
        parse_paper_text(
            text,
            has_modality=case["kwargs"].get("have_modal", False),
            normal_text=case["kwargs"].get("healthy", PAPER_NORMAL_TEXT),
        )
        for text in case["texts"]
    ]


def test_reference_crashes_are_clear_errors(golden):
    for case in golden["crash_cases"]:
        with pytest.raises(ValueError, match=r"statement \d+ (has no modality|does not follow)"):
            parse_case(case)
