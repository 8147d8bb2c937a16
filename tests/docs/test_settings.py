"""The settings that the page on data shows are all there are, with their defaults."""

import re
import tomllib
from pathlib import Path

from pydantic import BaseModel

from selip_core.recipes import PretrainConfig

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
BLOCK = re.search(
    r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
UNSET = re.compile(r"^# (?=\w+ = )", re.MULTILINE)


def keys_of(model):
    return {
        (name, key)
        for name, section in model
        if isinstance(section, BaseModel)
        for key in type(section).model_fields
    }


def test_the_values_shown_are_the_defaults():
    assert PretrainConfig.model_validate(tomllib.loads(BLOCK[1])) == PretrainConfig()


def test_every_setting_is_shown_and_those_without_a_default_can_be_set():
    # Adapters, which the page shows as well, want a backbone that is not frozen.
    shown = tomllib.loads(UNSET.sub("", BLOCK[1]).replace("frozen = true", "frozen = false"))
    PretrainConfig.model_validate(shown)
    assert shown.keys() == PretrainConfig.model_fields.keys()
    sections = {
        (name, key) for name, table in shown.items() if isinstance(table, dict) for key in table
    }
    assert sections == keys_of(PretrainConfig())
