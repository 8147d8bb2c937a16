import pytest

from selip_core.findings import NORMAL_LABEL, Finding, Report, distinct_label

HIGH = Finding(modality="T2", site="pons", signal="high", text="Bright pons.", text_zh="高")
LOW = Finding(modality="T2", site="thalamus", signal="low")


def report(id="1", **fields):
    return Report(id=id, **fields)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (report("1", normal=True, text="a"), report("2", normal=True, text="b")),
        (report("1", findings=[HIGH, LOW]), report("2", findings=[LOW, HIGH, HIGH])),
        (
            report("1", findings=[HIGH]),
            report("2", findings=[Finding(modality="T2", site="pons", signal="high")]),
        ),
        (report("1", text="Ｔ２ high"), report("2", text=" T2 high ")),
    ],
)
def test_reports_that_say_the_same(one, other):
    assert distinct_label(one) == distinct_label(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (report("1", findings=[HIGH]), report("2", findings=[HIGH, LOW])),
        (
            report("1", findings=[HIGH]),
            report("2", findings=[HIGH.model_copy(update={"negated": True})]),
        ),
        (report("1", text="a"), report("2", text="b")),
        (report("1"), report("2")),
        (
            report("1", findings=[Finding(site="pons", texture="solid")]),
            report("2", findings=[Finding(site="pons", texture="cystic")]),
        ),
        (report("1", findings=[Finding(text="A.")]), report("2", findings=[Finding(text="B.")])),
        (report("1", text="normal"), report("2", normal=True)),
    ],
)
def test_reports_that_differ(one, other):
    assert distinct_label(one) != distinct_label(other)


def test_normal_reports_have_the_known_label():
    assert distinct_label(report(normal=True)) == NORMAL_LABEL
