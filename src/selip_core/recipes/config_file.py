"""The settings of a pretraining run: read from a file, and compared."""

import inspect
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pydantic import ValidationError

from selip_core.containers import WrongContainerError, foreign_document, read_container
from selip_core.documents import read_json_document, read_toml_document
from selip_core.errors import DataError, Problem, did_you_mean
from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.image_encoder import image_encoder_problems
from selip_core.recipes.sources import missing_sources
from selip_core.validation_messages import message_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def read_config(path: str | os.PathLike[str], sources: bool = False) -> PretrainConfig:
    """The settings in a ``.toml`` or ``.json`` file; what it leaves out keeps its default.

    Args:
        path: The file.
        sources: Look also for what the settings name: a new run will read it. Image weights of the
            Hugging Face hub are downloaded then.

    Raises:
        DataError: If the file is not valid, a setting is unknown or out of range, the image encoder
            cannot be made or does not take volumes of that size, or a source is not there: each
            named with its place, all at once.
        ValueError: If the name of the file ends in neither.
        OSError: If the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "settings.toml"
        >>> _ = path.write_text("epochs = 2")
        >>> read_config(path).epochs
        2
    """
    path = Path(path)
    values = _parse(path)
    wrong = list(_wrong(values))
    wrong += _wrong_image_encoder(values, {place[:1] for place, _ in wrong})
    wrong += missing_sources(values) if sources else ()
    if wrong:
        problems = [
            Problem(f"{path} {'.'.join(place)}".strip(), message) for place, message in wrong
        ]
        raise DataError(f"{path} holds settings that cannot be used", problems)
    return PretrainConfig.model_validate(values)


def _wrong(values: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    try:
        PretrainConfig.model_validate(values)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            yield tuple(map(str, each["loc"])), _told(each)


def _wrong_image_encoder(
    values: Any, wrong: Collection[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """What only making the encoder shows, told where its own section is right.

    Args:
        values: Settings as a file gave them.
        wrong: The sections that are wrong, or the empty place if all is.
    """
    if () in wrong or ("image_encoder",) in wrong:
        return
    right = {key: value for key, value in values.items() if (key,) not in wrong}
    config = PretrainConfig.model_validate(right)
    with suppress(ImportError):  # settings are read also where nothing is made of them
        for place, message in image_encoder_problems(config):
            if place[:1] not in wrong:  # a default that nobody chose
                yield place, message


def _told(error: "ErrorDetails") -> str:
    """What is wrong with a setting, and if it is unknown, which was meant or which there are."""
    if error["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):
        return message_of(error)
    *sections, wrong = map(str, error["loc"])
    return f"unknown setting; {did_you_mean(wrong, _names(sections))}"


def _names(sections: list[str]) -> list[str]:
    """The settings of a section of a section ..."""
    section: Any = PretrainConfig
    for name in sections:
        hint = get_type_hints(section)[name]
        section = next(iter(get_args(hint)), hint)  # that of ``Lora | None`` is Lora
    return list(inspect.signature(section).parameters)


def _parse(path: Path) -> Any:
    if path.suffix == ".toml":
        return read_toml_document(path)
    if path.suffix == ".json":
        return read_json_document(path)
    raise ValueError(f"settings are a .toml or a .json file, got {path.name}{_instead(path)}")


def _instead(path: Path) -> str:
    """Return what a file without such a name is, where it is recognised."""
    try:
        text = read_container(path, "settings").decode("utf-8-sig")
    except WrongContainerError as error:
        return f", which {error}"
    except (OSError, UnicodeDecodeError):
        return ""
    message = foreign_document(text, "settings")
    return f", which {message}" if message else ""


def config_differences(old: PretrainConfig, new: PretrainConfig) -> list[str]:
    """One line for each setting that differs: ``"optimizer.warmup: 0.1 -> 0.2"``.

    Example:
        >>> config_differences(PretrainConfig(), PretrainConfig(epochs=3))
        ['epochs: 25 -> 3']
    """
    before, after = (flatten(each.model_dump(mode="json")) for each in (old, new))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted({**before, **after})
        if before.get(key) != after.get(key)
    ]


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary.

    Example:
        >>> flatten({"seed": 0, "data": {"workers": 2}})
        {'seed': 0, 'data.workers': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
