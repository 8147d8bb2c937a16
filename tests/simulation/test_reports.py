"""Reports against the truth, and held-out phrases against the training split."""

import re
import string

import pytest

from selip_core.findings import Finding
from selip_core.simulation.chinese import CHINESE
from selip_core.simulation.english import ENGLISH
from selip_core.simulation.kinds import KINDS
from selip_core.simulation.language import Phrasings
from selip_core.simulation.parameters import Parameters
from selip_core.simulation.patients import Visit
from selip_core.simulation.shapes import MORPHOLOGIES
from selip_core.simulation.sites import SITES
from selip_core.simulation.study import simulate_study

LANGUAGES = {"text": ENGLISH, "text_zh": CHINESE}
CHINESE_SIDES = {"left": "左侧", "right": "右侧", "bilateral": "双侧"}


def phrasings(language) -> list[Phrasings]:
    sentences = [language.sentences, language.oedema, language.others, language.normal]
    return [*sentences, *language.signals.values()]


def pattern(phrase: str) -> re.Pattern[str]:
    """Turn a phrase with slots into a pattern of the texts that it makes."""
    parts = [
        re.escape(text) + ("" if slot is None else ".+")
        for text, slot, _, _ in string.Formatter().parse(phrase)
    ]
    return re.compile("".join(parts), re.IGNORECASE)


def test_findings_are_the_lesions_that_the_sequence_shows(small_set):
    abnormal = 0
    for index, row in enumerate(small_set.manifest.rows):
        report = small_set.manifest.report_of(index)
        visible = {
            (one["site"], one["laterality"])
            for one in small_set.truth[row.study]["lesions"]
            if row.sequence in one["visible_in"]
        }
        assert {(one.site, one.laterality) for one in report.findings} == visible
        assert report.normal == (not visible)
        assert {one.modality for one in report.findings} <= {row.sequence}
        abnormal += bool(visible)
    assert abnormal > 40


def test_texts_say_what_the_findings_say(small_set):
    for report in small_set.manifest.reports.values():
        for finding in report.findings:
            side = finding.laterality or ""
            assert finding.text in report.text
            assert side in finding.text.lower()
            chinese = finding.model_extra["text_zh"]
            assert chinese in report.model_extra["text_zh"]
            assert CHINESE_SIDES.get(side, "") in chinese
            assert CHINESE.sites[finding.site][0] in chinese
            assert any(name.lower() in finding.text.lower() for name in ENGLISH.sites[finding.site])


def test_labels_are_the_kinds_of_the_lesions(small_set):
    for truth in small_set.truth.values():
        kinds = {one["kind"] for one in truth["lesions"]}
        assert truth["labels"] == {kind: kind in kinds for kind in KINDS}


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_every_word_has_its_phrases(language):
    words = {
        word for kind in KINDS.values() for one in kind.stages for word in one.signals.values()
    }
    assert words <= language.signals.keys()
    assert language.sites.keys() == SITES.keys()
    assert language.shapes.keys() == MORPHOLOGIES.keys()
    for one in phrasings(language):
        assert one.shared
        assert one.held_out
        assert not set(one.shared) & set(one.held_out)


@pytest.mark.parametrize("key", LANGUAGES)
def test_held_out_phrases_stay_out_of_training(small_set, key):
    language = LANGUAGES[key]
    held_out = [
        pattern(phrase)
        for one in (language.sentences, language.normal, language.oedema)
        for phrase in one.held_out
    ]
    words = [phrase for one in language.signals.values() for phrase in one.held_out]
    found = {"train": 0, "validation": 0, "test": 0}
    for index, row in enumerate(small_set.manifest.rows):
        report = small_set.manifest.report_of(index)
        text = str(getattr(report, key))
        hit = any(one.search(text) for one in held_out) or any(word in text for word in words)
        found[row.split] += hit
        assert hit == report.model_extra["held_out_phrasing"]
    assert found["train"] == 0
    assert found["validation"] > 0
    assert found["test"] > 0


def test_a_finding_survives_its_json(small_set):
    finding = next(one for r in small_set.manifest.reports.values() for one in r.findings)
    assert Finding.model_validate_json(finding.model_dump_json()) == finding


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_of_reports_in_held_out_phrases(share):
    parameters = Parameters(spacing=8.0, sequences=("FLAIR",), held_out_share=share)
    for split, expected in (("train", 0), ("test", share)):
        studies = [simulate_study(Visit(index, index, split), parameters) for index in range(3)]
        told = [study.reports["FLAIR"].model_extra["held_out_phrasing"] for study in studies]
        assert told == [bool(expected)] * 3
