"""The statement template of the paper's reference implementation, read into findings."""

import hashlib

from selip_core.findings.finding import Finding
from selip_core.findings.report import Report

PAPER_NORMAL_TEXT = (
    "头颅形态、大小未见异常。脑实质未见异常信号影，"
    "所见脑室形态及脑沟裂池未见异常扩张或变窄，中线结构未见移位。"
)
"""The text of a normal report in the paper's data."""

_SENTENCE_END = "。"
_COMMA = "，"
_SHOWS = "表现为"
_AT = "在"
_SIGNALS = ("高信号", "低信号", "长信号", "短信号", "等信号")
"""In the order in which they are looked for: the first that occurs in a description wins."""


def parse_paper_text(
    text: str,
    *,
    has_modality: bool = False,
    normal_text: str = PAPER_NORMAL_TEXT,
    id: str | None = None,
) -> Report:
    """Return the findings of a text in the template of the paper's reference implementation.

    Statements are separated by ``，`` (or, with a modality, are the second part of sentences
    ``T2，在…表现为…``) and read ``在<site>表现为<description>``. The signal is the third piece
    where ``表现为`` stands twice, else the first of the known signals that the description
    contains, else the whole description.

    Args:
        text: The report.
        has_modality: True if each sentence begins with its sequence and a comma.
        normal_text: A text equal to this one, character by character, is a normal report.
        id: Names the report; by default a digest of the text, so that equal texts are one report.

    Raises:
        ValueError: If a statement does not follow the template; the message gives its number.

    Example:
        >>> report = parse_paper_text("在左侧额叶表现为斑片状高信号", id="a")
        >>> report.findings[0].site, report.findings[0].signal, report.findings[0].text
        ('左侧额叶', '高信号', '左侧额叶斑片状高信号')

    Source:
        arXiv 2503.19801 and its published reference implementation.
    """
    id = id or "text-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    if text == normal_text:
        return Report(id=id, text=text, normal=True)
    statements = _sentences(text) if has_modality else [(None, s) for s in text.split(_COMMA)]
    findings = tuple(
        _finding(statement, modality, number)
        for number, (modality, statement) in enumerate(statements, 1)
    )
    return Report(id=id, text=text, findings=findings)


def _sentences(text: str) -> list[tuple[str | None, str]]:
    pairs: list[tuple[str | None, str]] = []
    for number, sentence in enumerate(text.split(_SENTENCE_END), 1):
        modality, comma, rest = sentence.partition(_COMMA)
        if not comma:
            raise ValueError(
                f"statement {number} has no modality: expected '<modality>{_COMMA}<statement>', "
                f"got a sentence without '{_COMMA}'; use has_modality=False for such texts"
            )
        pairs.append((modality, rest.split(_COMMA)[0]))
    return pairs


def _finding(statement: str, modality: str | None, number: int) -> Finding:
    site, *descriptions = statement.split(_SHOWS)
    if not descriptions:
        raise ValueError(
            f"statement {number} does not follow the template: expected "
            f"'{_AT}<site>{_SHOWS}<description>', got a statement without '{_SHOWS}'"
        )
    site = site.replace(_AT, "")
    description = descriptions[0]
    named = (signal for signal in _SIGNALS if signal in description)
    signal = descriptions[1] if len(descriptions) > 1 else next(named, description)
    return Finding(modality=modality, site=site, signal=signal, text=site + description)
