import numpy as np
import pytest
from pydantic import ValidationError

from selip_core.findings import Finding, Report


def test_values_are_compared_normalised_and_shown_as_written():
    finding = Finding(site="Ｔ２区")
    assert finding.site == "Ｔ２区"
    assert finding.value("site") == "T2区"


def test_empty_is_a_value_and_none_is_missing():
    assert Finding(site="").value("site") == ""
    assert Finding().value("site") is None
    assert Finding().value("a field nobody gave") is None


@pytest.mark.parametrize(
    ("value", "compared"), [(3, "3"), (True, "true"), ({"b": 1, "a": 2}, '{"a": 2, "b": 1}')]
)
def test_extra_fields_of_any_json_type_can_be_compared(value, compared):
    assert Finding(extra=value).value("extra") == compared


@pytest.mark.parametrize("name", ["value", "copy", "json", "model_dump", "__class__"])
def test_a_field_may_bear_the_name_of_a_method(name):
    assert Finding().value(name) is None
    assert Finding(**{name: "3 mm"}).value(name) == "3 mm"


def test_wrong_type_is_refused_without_showing_the_value():
    with pytest.raises(ValidationError, match="valid string") as caught:
        Finding(site=12345)
    assert "12345" not in str(caught.value)


def test_normal_report_may_negate_but_not_affirm():
    assert Report(id="a", normal=True, findings=[Finding(site="pons", negated=True)]).normal
    with pytest.raises(ValidationError, match="negated findings only"):
        Report(id="a", normal=True, findings=[Finding(site="pons")])


def test_unknown_is_neither_normal_nor_has_findings():
    assert Report(id="a").is_unknown
    assert not Report(id="a", normal=True).is_unknown
    assert Report(id="a", normal=False).is_unknown
    assert not Report(id="a", findings=[Finding()]).is_unknown


NAN = float("nan")


@pytest.mark.parametrize(
    "value", [NAN, np.float64("nan"), -float("inf"), [1, [NAN]], {"a": {"b": NAN}}, (NAN,)]
)
def test_nan_from_python_is_refused_with_the_field(value):
    with pytest.raises(
        ValidationError, match=r"lobe\n  must be finite: NaN and infinities are not"
    ):
        Finding(lobe=value)
    with pytest.raises(ValidationError, match=r"findings.0.lobe\n  must be finite"):
        Report(id="a", findings=[{"lobe": value}])
    with pytest.raises(ValidationError, match=r"ward\n  must be finite"):
        Report(id="a", ward=value)


@pytest.mark.parametrize(
    "value", [np.float32("nan"), object(), {1, 2}, {"a": {3: 4}}, 1 << 20000], ids=type
)
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(ValidationError, match=r"lobe\n .*must be") as caught:
        Finding(lobe=value)
    assert caught.value.error_count() == 1


def test_nan_put_into_a_copy_is_not_compared():
    copy = Finding(lobe="RUL").model_copy(update={"lobe": NAN})
    with pytest.raises(ValueError, match="finding field 'lobe' holds a float that JSON cannot"):
        copy.value("lobe")


def test_nesting_is_bounded():
    value = 1
    for _ in range(1000):
        value = [value]
    with pytest.raises(ValidationError, match="nested 100 deep"):
        Finding(lobe=value)
