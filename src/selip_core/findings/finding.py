"""A finding: one statement about one place in one sequence."""

import json
import unicodedata
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from selip_core.findings.json_values import JsonField


def normalize_text(text: str) -> str:
    """Return the form in which two strings are compared: Unicode NFKC.

    Full-width and half-width forms become equal; nothing else changes. Texts are kept as written
    wherever they are shown.

    Example:
        >>> normalize_text("Ｔ２")
        'T2'
    """
    return unicodedata.normalize("NFKC", text)


class Finding(BaseModel):
    """One statement about one place in one sequence, such as a lesion.

    The schema is data: besides the fields named here, a finding keeps whatever fields it is given,
    and finding kernels may read any of them. ``""`` is a value, ``None`` is missing, and NaN is
    refused: it would be a value in which findings agree.

    Attributes:
        modality: The sequence that shows it, such as ``"T2"``.
        site: The anatomical place, such as ``"frontal lobe"``.
        laterality: ``"left"``, ``"right"``, ``"bilateral"``, or the user's own words.
        signal: The signal against normal tissue, such as ``"high"``.
        morphology: The shape, such as ``"patchy"``.
        extent: The size, with its unit where there is one, such as ``"12 mm"``.
        negated: True if the report says that it is absent.
        text: The words of the report it came from.

    Raises:
        pydantic.ValidationError: If a field has the wrong type, or one of another name holds what
            JSON cannot (NaN, an infinity, ``pandas.NA``). It is a ``ValueError``.

    Example:
        >>> finding = Finding(site="pons", signal="high", certainty="probable")
        >>> finding.value("certainty"), finding.value("extent")
        ('probable', None)
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, hide_input_in_errors=True)
    __pydantic_extra__: dict[str, JsonField] = Field(init=False)

    modality: str | None = None
    site: str | None = None
    laterality: str | None = None
    signal: str | None = None
    morphology: str | None = None
    extent: str | None = None
    negated: bool = False
    text: str | None = None

    def value(self, field: str) -> str | None:
        """Return a field in the form in which it is compared, or ``None`` if it is missing.

        Strings are normalised by :func:`normalize_text`; any other JSON value becomes its JSON
        text, so that ``3`` and ``"3"`` agree.

        Raises:
            ValueError: If the value is not JSON, such as NaN put there by ``model_copy``.
        """
        # Not getattr: a field may bear the name of a method, such as "value" or "copy".
        value = self.__dict__.get(field)
        if value is None and self.model_extra:
            value = self.model_extra.get(field)
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str):
            value = _json_text(field, value)
        return normalize_text(value)


def _json_text(field: str, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"finding field {field!r} holds a {type(value).__name__} that JSON cannot hold; "
            "use None where there is no value"
        ) from error
