"""File formats that are not text, by their first bytes."""

import io
import re
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
_NAMED = "give the text file that names it"
_WEIGHTS = "give the text file, not the weights"
_ARRAYS = "give the text file, not the arrays"
_EXPORT = "export its table as JSON Lines"
_SOURCE = "export the data behind it as JSON Lines"

_VOLUME = "name the volume, a NIfTI file or a DICOM folder"
_CONVERT = "convert it to NIfTI (.nii.gz)"
_SIMPLEITK = f"{_CONVERT}, by SimpleITK for example"
_REPACK = "unpack it, then compress it with gzip as .nii.gz or leave it as .nii"
_CONTENTS = "unpack it and name the volumes in it"
_LFS = "fetch the content: git lfs pull"
_ANNEX = "fetch the content: git annex get FILE"
_PICTURE = "a picture has no geometry: name the volume from which it was made"


@dataclass(frozen=True)
class Format:
    """A format that a command met in place of the one it reads.

    Attributes:
        name: What follows "is", such as ``"a PDF document"``.
        advice: What to do where text was needed.
        volume_advice: What to do where a volume was needed.
    """

    name: str
    advice: str
    volume_advice: str = _VOLUME


_AT_START: tuple[tuple[bytes, Format], ...] = (
    (b"SQLite format 3\x00", Format("an SQLite database", "export its table: sqlite3 -json")),
    (b"PAR1", Format("a Parquet file", _PARQUET)),
    (b"ARROW1", Format("an Arrow (Feather) file", _EXPORT)),
    (b"FEA1", Format("a Feather file", _EXPORT)),
    (b"ORC", Format("an ORC file", _EXPORT)),
    (b"Obj\x01", Format("an Avro file", _EXPORT)),
    (b"\x89HDF\r\n\x1a\n", Format("an HDF5 file (or MINC 2, MATLAB 7.3)", _EXPORT, _CONVERT)),
    (b"CDF\x01", Format("a NetCDF file (or MINC 1)", _EXPORT, f"{_CONVERT}, by mnc2nii")),
    (b"CDF\x02", Format("a NetCDF file (or MINC 1)", _EXPORT, f"{_CONVERT}, by mnc2nii")),
    (b"MATLAB 5.0", Format("a MATLAB file", _EXPORT, _CONVERT)),
    (b"$FL2", Format("an SPSS file", _EXPORT)),
    (b"<stata_dta>", Format("a Stata file", _EXPORT)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Format("an old Excel or Word file", _EXCEL)),
    (b"%PDF", Format("a PDF document", _SOURCE)),
    (b"{\\rtf", Format("an RTF document", _SOURCE)),
    (
        b"\x28\xb5\x2f\xfd",
        Format("compressed with Zstandard", "unpack it first: unzstd FILE", _REPACK),
    ),
    (b"\xfd7zXZ\x00", Format("compressed with xz", "unpack it first: unxz --keep FILE", _REPACK)),
    (b"BZh", Format("compressed with bzip2", "unpack it first: bunzip2 --keep FILE", _REPACK)),
    (b"\x04\x22\x4d\x18", Format("compressed with LZ4", "unpack it first: unlz4 FILE", _REPACK)),
    (b"7z\xbc\xaf\x27\x1c", Format("a 7-Zip archive", "unpack it first: 7z x FILE", _CONTENTS)),
    (b"Rar!\x1a\x07", Format("a RAR archive", "unpack it first", _CONTENTS)),
    (b"NRRD000", Format("an NRRD volume", _NAMED, _SIMPLEITK)),
    (b"ObjectType = ", Format("a MetaImage volume", _NAMED, _SIMPLEITK)),
    (b"NDims = ", Format("a MetaImage volume", _NAMED, _SIMPLEITK)),
    (b"# vtk DataFile", Format("a VTK file", _NAMED, _SIMPLEITK)),
    (
        b"# === DATA DESCRIPTION FILE",
        Format("a Philips PAR header", _NAMED, f"{_CONVERT}, by dcm2niix"),
    ),
    (b"\x89PNG\r\n\x1a\n", Format("a PNG picture", _NAMED, _PICTURE)),
    (b"\xff\xd8\xff", Format("a JPEG picture", _NAMED, _PICTURE)),
    (b"\0\0\0\x0cjP  ", Format("a JPEG 2000 picture", _NAMED, _PICTURE)),
    (b"\xff\x4f\xff\x51", Format("a JPEG 2000 picture", _NAMED, _PICTURE)),
    (b"GIF8", Format("a GIF picture", _NAMED, _PICTURE)),
    (b"II*\x00", Format("a TIFF picture", _NAMED, _PICTURE)),
    (b"MM\x00*", Format("a TIFF picture", _NAMED, _PICTURE)),
    (b"\x93NUMPY", Format("a NumPy array", _ARRAYS, f"an array has no geometry: {_CONVERT}")),
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
        Format("a Git LFS pointer", _LFS, _LFS),
    ),
    (
        b"/annex/objects",
        Format("a git-annex pointer", _ANNEX, _ANNEX),
    ),
)
_DICOM = Format("one DICOM file", _NAMED, "name the folder of its series")
_NIFTI = Format("a NIfTI volume", _NAMED)
_MGH = Format("a FreeSurfer volume (MGH)", _NAMED, f"{_CONVERT}, by mri_convert")
_PICKLE = Format(
    "a pickle of Python",
    "read it where it was written, and write JSON Lines; never load a pickle that you did not make",
    _CONVERT,
)
_SAFETENSORS = Format("a safetensors file", _WEIGHTS)
_DUCKDB = Format("a DuckDB database", _EXPORT)
_TAR = Format("a tar archive", "unpack it first: tar -xf FILE", _CONTENTS)

_NIFTI_SIZES = {348, 540}
"""Bytes of the headers of NIfTI-1, which are those of Analyze 7.5 too, and of NIfTI-2."""

_DICOM_ELEMENT = re.compile(
    rb"[\x02\x08]\0[\0-\xff]\0"
    rb"(?:AE|CS|DA|DT|IS|LO|LT|OB|OW|PN|SH|SQ|ST|TM|UI|UL|UN|US|UT)"
    rb"|[\x02\x08]\0[\0-\x18]\0[\0-\xff]\0\0\0"
)
"""A first data element of DICOM without its preamble: explicit, then implicit."""


def format_of(head: bytes, size: int | None = None) -> Format | None:
    """Return the binary format of a file, or None if it may be text.

    Args:
        head: At least the first :data:`HEAD` bytes, or all; of a zip file all, to look into it.
        size: Bytes of the whole file, if known.

    Example:
        >>> format_of(b"%PDF-1.7").name
        'a PDF document'
        >>> format_of(b'{"id": "a"}') is None
        True
    """
    if head[128:132] == b"DICM" or _DICOM_ELEMENT.match(head):
        return _DICOM  # before others: its preamble may be that of a TIFF picture
    for start, known in _AT_START:
        if head.startswith(start):
            return known
    if head.startswith(b"\x1f\x8b"):
        return _gzip(head)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip(head)
    return _by_structure(head, size)


def begins_as_nifti(head: bytes) -> bool:
    """Return whether a file begins with the size of a header of NIfTI, in either byte order."""
    return not _NIFTI_SIZES.isdisjoint(
        (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    )


def _by_structure(head: bytes, size: int | None) -> Format | None:
    """Return a format whose mark is not its first bytes."""
    if begins_as_nifti(head):
        return _NIFTI
    if _is_mgh(head):
        return _MGH
    if head[257:262] == b"ustar":
        return _TAR
    if head[8:12] == b"DUCK":
        return _DUCKDB
    if head[8:10] in (b'{"', b"{}") and 2 <= int.from_bytes(head[:8], "little") < (size or 2**32):
        return _SAFETENSORS
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or head[:3] in (
        b"(dp",
        b"(lp",
    ):
        return _PICKLE
    return None


def _is_mgh(head: bytes) -> bool:
    """Return whether it begins with version 1, then four positive extents, big-endian."""
    extents = [int.from_bytes(head[at : at + 4], "big") for at in (4, 8, 12, 16)]
    return head[:4] == b"\0\0\0\x01" and all(0 < extent < 1 << 16 for extent in extents)


def _gzip(data: bytes) -> Format:
    """Return what is in a gzip file: often a volume, or the JSON Lines that was wanted."""
    advice = "unpack it first: gunzip --keep FILE"
    try:
        inner = zlib.decompressobj(wbits=31).decompress(data, HEAD)
    except zlib.error:
        return Format("compressed with gzip, and damaged", advice)
    known = _by_structure(inner, len(inner))
    if known in (_NIFTI, _TAR):
        return Format(f"{known.name}, compressed with gzip", known.advice)
    return Format("compressed with gzip", advice)


def _zip(data: bytes) -> Format:
    """Return what a zip file is: spreadsheets, documents and weights of PyTorch are zip files."""
    archive = Format("a zip archive", "unpack it first: unzip FILE", _CONTENTS)
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        return archive
    if any(name.startswith("xl/") for name in names):
        return Format("an Excel workbook (XLSX)", _EXCEL)
    if "mimetype" in names and "content.xml" in names:
        return Format("an OpenDocument file (ODS)", _EXCEL.replace("OLD.xlsx", "OLD.ods"))
    if any(name.startswith("word/") for name in names):
        return Format("a Word document", _SOURCE)
    if any(name.endswith("data.pkl") for name in names):
        return Format("a weights file of PyTorch (a pickle)", _WEIGHTS)
    if names and all(name.endswith(".npy") for name in names):
        return Format("an archive of NumPy arrays", _ARRAYS)
    return archive
