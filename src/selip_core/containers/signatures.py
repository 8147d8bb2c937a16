"""File formats that are not text, known by their first bytes."""

import io
import zipfile
import zlib
from dataclasses import dataclass

HEAD = 2048
"""Bytes from the start of a file that the signatures need."""

_PANDAS = (
    "python -c \"import pandas; pandas.{read}, dtype=str).to_json('NEW.jsonl', "
    "orient='records', lines=True, force_ascii=False)\""
)
_EXCEL = "export it as JSON Lines: " + _PANDAS.format(read="read_excel('OLD.xlsx'")
_PARQUET = (
    "export it as JSON Lines: python -c \"import pandas; pandas.read_parquet('OLD').to_json("
    "'NEW.jsonl', orient='records', lines=True, force_ascii=False)\""
)
_IMAGE = "give the text file that names it"
_WEIGHTS = "give the text file, not the weights"
_ARRAYS = "give the text file, not the arrays"
_EXPORT = "export its table as JSON Lines"


@dataclass(frozen=True)
class Format:
    """What a file is, and what to do to get what was wanted.

    Attributes:
        name: With its article, such as ``"a PDF document"``.
        advice: What to do.
    """

    name: str
    advice: str


_AT_START: tuple[tuple[bytes, Format], ...] = (
    (b"SQLite format 3\x00", Format("an SQLite database", "export its table: sqlite3 -json")),
    (b"PAR1", Format("a Parquet file", _PARQUET)),
    (b"ARROW1", Format("an Arrow (Feather) file", _EXPORT)),
    (b"FEA1", Format("a Feather file", _EXPORT)),
    (b"ORC", Format("an ORC file", _EXPORT)),
    (b"Obj\x01", Format("an Avro file", _EXPORT)),
    (b"\x89HDF\r\n\x1a\n", Format("an HDF5 file", _EXPORT)),
    (b"CDF\x01", Format("a NetCDF file", _EXPORT)),
    (b"CDF\x02", Format("a NetCDF file", _EXPORT)),
    (b"MATLAB 5.0", Format("a MATLAB file", _EXPORT)),
    (b"$FL2", Format("an SPSS file", _EXPORT)),
    (b"<stata_dta>", Format("a Stata file", _EXPORT)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Format("an old Excel or Word file", _EXCEL)),
    (b"%PDF", Format("a PDF document", "export the data behind it as JSON Lines")),
    (b"{\\rtf", Format("an RTF document", "export the data behind it as JSON Lines")),
    (b"\x28\xb5\x2f\xfd", Format("a file compressed by zstd", "unpack it first: unzstd FILE")),
    (b"\xfd7zXZ\x00", Format("a file compressed by xz", "unpack it first: unxz --keep FILE")),
    (b"BZh", Format("a file compressed by bzip2", "unpack it first: bunzip2 --keep FILE")),
    (b"\x04\x22\x4d\x18", Format("a file compressed by lz4", "unpack it first: unlz4 FILE")),
    (b"7z\xbc\xaf\x27\x1c", Format("a 7-Zip archive", "unpack it first: 7z x FILE")),
    (b"Rar!\x1a\x07", Format("a RAR archive", "unpack it first")),
    (b"NRRD", Format("an NRRD volume", _IMAGE)),
    (b"ObjectType = Image", Format("a MetaImage header", _IMAGE)),
    (b"\x89PNG\r\n\x1a\n", Format("a PNG image", _IMAGE)),
    (b"\xff\xd8\xff", Format("a JPEG image", _IMAGE)),
    (b"GIF8", Format("a GIF image", _IMAGE)),
    (b"II*\x00", Format("a TIFF image", _IMAGE)),
    (b"MM\x00*", Format("a TIFF image", _IMAGE)),
    (b"\x93NUMPY", Format("a NumPy array", _ARRAYS)),
    (b"\x7fELF", Format("a program", "give the text file")),
    (b"-----BEGIN PGP", Format("a file encrypted by PGP", "decrypt it first: gpg --decrypt FILE")),
    (
        b"age-encryption.org",
        Format("a file encrypted by age", "decrypt it first: age --decrypt FILE"),
    ),
    (b"Salted__", Format("a file encrypted by OpenSSL", "decrypt it first")),
    (b"bplist00", Format("a binary property list", _EXPORT)),
    (
        b"version https://git-lfs",
        Format("a Git LFS pointer", "fetch the content: git lfs pull"),
    ),
)
_DICOM = Format("a DICOM file", _IMAGE)
_NIFTI = Format("a NIfTI volume", _IMAGE)
_PICKLE = Format(
    "a pickle of Python",
    "read it where it was written, and write JSON Lines; never load a pickle that you did not make",
)
_SAFETENSORS = Format("a safetensors file", _WEIGHTS)
_TAR = Format("a tar archive", "unpack it first: tar -xf FILE")


def format_of(head: bytes, size: int) -> Format | None:
    """Return the binary format of a file, or None if it may be text.

    Args:
        head: At least the first :data:`HEAD` bytes, or all; of an archive all, to look into it.
        size: Bytes of the whole file.

    Example:
        >>> format_of(b"%PDF-1.7", 8).name
        'a PDF document'
        >>> format_of(b'{"id": "a"}', 11) is None
        True
    """
    for start, known in _AT_START:
        if head.startswith(start):
            return known
    if head.startswith(b"\x1f\x8b"):
        return _gzip(head)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip(head)
    return _by_structure(head, size)


def _by_structure(head: bytes, size: int) -> Format | None:
    """Return a format whose mark is not its first bytes."""
    if head[128:132] == b"DICM" or head[:4] in (b"\x08\x00\x05\x00", b"\x02\x00\x00\x00"):
        return _DICOM
    if head[:4] in (
        b"\x5c\x01\x00\x00",
        b"\x00\x00\x01\x5c",
        b"\x1c\x02\x00\x00",
        b"\x00\x00\x02\x1c",
    ):
        return _NIFTI
    if head[257:262] == b"ustar":
        return _TAR
    if head[8:12] == b"DUCK":
        return Format("a DuckDB database", _EXPORT)
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < size:
        return _SAFETENSORS
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or head[:3] in (
        b"(dp",
        b"(lp",
    ):
        return _PICKLE
    return None


def _gzip(data: bytes) -> Format:
    """Return what is in a gzip file: often a volume, or the JSON Lines that was wanted."""
    advice = "unpack it first: gunzip --keep FILE"
    try:
        inner = zlib.decompressobj(wbits=31).decompress(data, HEAD)
    except zlib.error:
        return Format("a file compressed by gzip, and damaged", advice)
    known = _by_structure(inner, len(inner))
    if known is _NIFTI:
        return Format("a NIfTI volume, compressed by gzip", _IMAGE)
    if known is _TAR:
        return Format("a tar archive, compressed by gzip", "unpack it first: tar -xf FILE")
    return Format("a file compressed by gzip", advice)


def _zip(data: bytes) -> Format:
    """Return what a zip file is: spreadsheets, documents and weights of PyTorch are zip files."""
    archive = Format("a zip archive", "unpack it first: unzip FILE")
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return archive
    if any(name.startswith("xl/") for name in names):
        return Format("an Excel workbook (XLSX)", _EXCEL)
    if "mimetype" in names and "content.xml" in names:
        return Format("an OpenDocument file (ODS)", _EXCEL.replace("OLD.xlsx", "OLD.ods"))
    if any(name.startswith("word/") for name in names):
        return Format("a Word document", "export the data behind it as JSON Lines")
    if any(name.endswith("data.pkl") for name in names):
        return Format("a weights file of PyTorch (a pickle)", _WEIGHTS)
    if names and all(name.endswith(".npy") for name in names):
        return Format("an archive of NumPy arrays", _ARRAYS)
    return archive
