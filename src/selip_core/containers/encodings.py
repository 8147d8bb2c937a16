"""Guess the encoding of text that is not UTF-8, by the characters that it would give."""

import re
from dataclasses import dataclass

SAMPLE = 1 << 16
"""Bytes from the start of a text that are examined."""

_SIMPLIFIED = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说"
    "左右侧脑叶信号高低见未异常影灶片状斑点肺肝肾脾胰胸腹颅骨质部区内外前后缘液结节增厚强化扫描示及无明显"
    "正大小形态密度血管室沟裂池线移位额颞顶枕桥延髓基底丘囊炎肿瘤梗死患者检查报告男女诊断级期"
)
_TRADITIONAL = (
    "的一是在不了有和人這中大為上個國我以要他時來用們生到作地於出就分對成會可主發年動同工也能下過子說"
    "左右側腦葉信號高低見未異常影灶片狀斑點肺肝腎脾胰胸腹顱骨質部區內外前後緣液結節增厚強化掃描示及無明顯"
    "正大小形態密度血管室溝裂池線移位額顳頂枕橋延髓基底丘囊炎腫瘤梗死患者檢查報告男女診斷級期訊"
)
_KANA = "".join(map(chr, [*range(0x3041, 0x3097), *range(0x30A1, 0x30FB), 0x30FC, 0x3001, 0x3002]))
_HANGUL = (
    "이다의는에을를고가하한로사자기지은도서어정아리인나그대있시스것수보부해전제상장으여우유일주조비"
    "세동경마오성무원방관등물만안라과구소실폐간신뇌엽측좌우위아래병변음영신호증가감소없음결절"
)
_CYRILLIC = "".join(map(chr, range(0x430, 0x450)))
_LATIN = "äöüÄÖÜßéèêëàâáãåæçñóòôõøúùûíìîïÉÈÀÁÅØÆÇÑÓ°µ±²³½–—’‘“”…×"


@dataclass(frozen=True)
class _Candidate:
    """An encoding, with the statistics of text in it.

    Attributes:
        codec: Its name in Python.
        name: Its name in ``iconv``.
        frequent: Frequent characters of its language.
        least: Least share of the characters beyond ASCII that are frequent ones.
        runs: Range of the mean length of runs of bytes beyond ASCII; accented letters come singly.
    """

    codec: str
    name: str
    frequent: frozenset[str]
    least: float = 0.15
    runs: tuple[float, float] = (2.0, float("inf"))


_CANDIDATES = (
    _Candidate("gb18030", "GB18030", frozenset(_SIMPLIFIED)),
    _Candidate("big5", "BIG5", frozenset(_TRADITIONAL)),
    _Candidate("cp932", "SHIFT_JIS", frozenset(_KANA)),
    _Candidate("euc_jp", "EUC-JP", frozenset(_KANA)),
    _Candidate("cp949", "CP949", frozenset(_HANGUL)),
    _Candidate("cp1251", "WINDOWS-1251", frozenset(_CYRILLIC), 0.8),
    _Candidate("koi8_r", "KOI8-R", frozenset(_CYRILLIC), 0.8),
    _Candidate("cp1252", "WINDOWS-1252", frozenset(_LATIN), 0.8, (1.0, 2.0)),
)
_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32LE"),
    (b"\x00\x00\xfe\xff", "UTF-32BE"),
    (b"\xff\xfe", "UTF-16LE"),
    (b"\xfe\xff", "UTF-16BE"),
)


def wide_encoding_of(head: bytes) -> str | None:
    """Return UTF-16 or UTF-32 with its byte order if the text is in one, with or without a mark.

    Example:
        >>> wide_encoding_of('{"id": "a"}'.encode("utf-16-le")), wide_encoding_of(b'{"id": "a"}')
        ('UTF-16LE', None)
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    zero = [byte == 0 for byte in head[:4]]  # JSON and headers of tables begin with ASCII
    wide = {
        (False, True, True, True): "UTF-32LE",
        (True, True, True, False): "UTF-32BE",
        (False, True, False, True): "UTF-16LE",
        (True, False, True, False): "UTF-16BE",
    }
    return wide.get((zero[0], zero[1], zero[2], zero[3])) if len(zero) == 4 else None


def encoding_of(data: bytes) -> str | None:
    """Return the encoding, by its name in ``iconv``, that text which is not UTF-8 looks like.

    Each candidate decodes it strictly; the one whose characters are most often frequent ones of its
    language is returned, or None if none is convincing.

    Example:
        >>> encoding_of("左侧额叶见斑片状高信号影，未见异常。".encode("gb18030"))
        'GB18030'
        >>> encoding_of("Läsion in der rechten Großhirnhälfte".encode("latin-1"))
        'WINDOWS-1252'
    """
    sample = data[:SAMPLE]
    if len(data) > SAMPLE:  # not within a character
        sample = sample[: max(sample.rfind(b"\n"), sample.rfind(b" ")) + 1] or sample
    runs = re.findall(rb"[\x80-\xff]+", sample)
    mean = sum(map(len, runs)) / max(1, len(runs))
    fitting = [each for each in _CANDIDATES if each.runs[0] <= mean <= each.runs[1]]
    scores = {each.name: _score(sample, each) for each in fitting}
    return max(scores, key=lambda name: scores[name]) if any(scores.values()) else None


def _score(sample: bytes, candidate: _Candidate) -> float:
    """Return the share of frequent characters; 0 if it cannot be or is too small."""
    try:
        text = sample.decode(candidate.codec)
    except UnicodeDecodeError:
        return 0.0
    foreign = [character for character in text if ord(character) >= 0x80]
    share = sum(character in candidate.frequent for character in foreign) / max(1, len(foreign))
    return share if share >= candidate.least else 0.0
