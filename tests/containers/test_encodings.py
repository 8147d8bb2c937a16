"""Encodings are recognised from one report on."""

import pytest

from selip_core.containers.encodings import encoding_of, wide_encoding_of

TEXTS = [
    ("gb18030", "GB18030", "左侧额叶见斑片状高信号影，边界欠清，增强扫描未见强化。"),
    ("gbk", "GB18030", "双肺纹理清晰，未见实变影。心影不大。"),
    ("gb2312", "GB18030", "患者张伟"),
    ("big5", "BIG5", "左側額葉見斑片狀高信號影，邊界欠清。"),
    ("big5", "BIG5", "雙肺紋理清晰，未見實變影"),
    ("shift_jis", "SHIFT_JIS", "左前頭葉に高信号域を認めます。"),
    ("euc_jp", "EUC-JP", "明らかな異常は認められません。"),
    ("cp949", "CP949", "좌측 전두엽에 고신호강도 병변이 있음."),
    ("cp1251", "WINDOWS-1251", "Очаг повышенного сигнала в левой лобной доле."),
    ("koi8_r", "KOI8-R", "Патологии не выявлено"),
    ("latin-1", "WINDOWS-1252", "Läsion in der rechten Großhirnhälfte, 5 µm"),
    ("latin-1", "WINDOWS-1252", "Lésion hyperintense de l'hémisphère gauche"),
    ("cp1252", "WINDOWS-1252", "the patient’s lesion – large"),
]


@pytest.mark.parametrize(("codec", "name", "text"), TEXTS)
@pytest.mark.parametrize("form", ["{}", '{{"id": "a", "text": "{}"}}'])
def test_encoding_of_one_report(codec, name, text, form):
    data = form.format(text).encode(codec)
    assert encoding_of(data) == name
    assert data.decode(name) == form.format(text)  # the name is one that decodes it


@pytest.mark.parametrize(("codec", "name", "text"), TEXTS)
def test_encoding_of_a_long_file_is_not_cut_within_a_character(codec, name, text):
    assert encoding_of(("x" + text + "\n").encode(codec) * 5000) == name


def test_bytes_of_no_text():
    assert encoding_of(bytes(range(128, 256)) * 3) is None


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings(codec, mark):
    expected = codec.upper().replace("-LE", "LE").replace("-BE", "BE")
    assert wide_encoding_of(f'{mark}{{"id": "左"}}'.encode(codec)) == expected


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1}', b"\xef\xbb\xbf{}", bytes(64)])
def test_utf8_is_not_wide(data):
    assert wide_encoding_of(data) is None
