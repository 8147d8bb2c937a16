"""Digests of the data a run was started with: rows, reports and a sample of each volume.

Kept in the run's folder, so that a resumed run finds data that changed under the same name. Ids,
paths and texts are in it as keyed hashes only. Times and absolute paths are left out, since data is
staged to other disks.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selip_core.data import Manifest
from selip_core.data.unusable import UnusableVolumeError, describe_os_error, require_file
from selip_core.digests import SEAL, sealed
from selip_core.errors import DataError, Problem

_FORMAT = 1
_BLOCK = 2**15
"""Bytes of a sample."""

_BLOCKS = 8
"""Samples of a file; a file of fewer bytes is read whole."""

_SLICES = 8
"""Files of a DICOM folder of which samples are read; of all, name and size count."""

_READERS = 16
_SHOWN = 20


@dataclass(frozen=True)
class DataRecord:
    """Digests of the rows of a manifest.

    Attributes:
        salt: Key of all hashes, random for each run.
        rows: From the hash of a row's id to the digests of row and report, and of its volume;
            ``""`` for volumes that the run does not read.
    """

    salt: str
    rows: dict[str, tuple[str, str]]

    def as_json(self) -> str:
        """Return the text of a file that :meth:`from_json` reads."""
        content = {"format": _FORMAT, "salt": self.salt, "rows": self.rows}
        return json.dumps(sealed(content)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "DataRecord":
        """Return the record that ``as_json`` wrote.

        Raises:
            ValueError: If the text is not what was written.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            rows = {key: (row, volume) for key, (row, volume) in content["rows"].items()}
            record, seal = cls(content["salt"], rows), content[SEAL]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("is not a record of data") from error
        if seal != sealed(content)[SEAL]:
            raise ValueError("has another SHA-256 than was written")
        return record


@dataclass(frozen=True)
class DataChanges:
    """How data differs from a record.

    Attributes:
        rows: Lines of the manifest whose row or report changed.
        volumes: Lines of the manifest whose volume changed.
        added: Lines that the record does not hold.
        removed: How many rows of the record are gone.
    """

    rows: tuple[int, ...]
    volumes: tuple[int, ...]
    added: tuple[int, ...]
    removed: int

    def __bool__(self) -> bool:
        return bool(self.rows or self.volumes or self.added or self.removed)

    @property
    def counts(self) -> dict[str, int]:
        """The number of each, for the history of a run."""
        return {
            "rows": len(self.rows),
            "volumes": len(self.volumes),
            "added": len(self.added),
            "removed": self.removed,
        }

    def describe(self, manifest: str) -> str:
        """Return one line for each kind of change.

        Example:
            >>> print(DataChanges((), (3, 4), (), 1).describe("manifest.jsonl"))
              volumes that changed: 2, of manifest.jsonl lines 3, 4
              rows that are gone: 1
        """
        kinds = {
            "volumes that changed": self.volumes,
            "rows or reports that changed": self.rows,
            "rows that are new": self.added,
        }
        lines = [
            f"  {kind}: {len(changed)}, of {manifest} lines {_shown(changed)}"
            for kind, changed in kinds.items()
            if changed
        ]
        lines += [f"  rows that are gone: {self.removed}"] if self.removed else []
        return "\n".join(lines)


def record_data(
    manifest: Manifest, used: Iterable[Manifest], salt: str | None = None
) -> DataRecord:
    """Return the record of a manifest.

    Of each volume of ``used`` some samples are read, 256 KiB at most.

    Args:
        manifest: All rows.
        used: Selections of it, whose volumes the run reads.
        salt: That of the record to compare with; random if None.

    Raises:
        DataError: If volumes are missing or cannot be read; all are named at once.
    """
    salt = salt or secrets.token_hex(16)
    key = bytes.fromhex(salt)
    volumes = _sample_all(list(used), key)
    rows = {}
    for index, row in enumerate(manifest.rows):
        text = row.model_dump_json() + "\0" + manifest.report_of(index).model_dump_json()
        rows[_hash(key, row.id)] = (_hash(key, text), volumes.get(row.id, ""))
    return DataRecord(salt, rows)


def data_changes(before: DataRecord, now: DataRecord, manifest: Manifest) -> DataChanges:
    """Return how the data of a manifest differ from what a run was started with.

    Args:
        before: The record of the run.
        now: The record of the manifest, with the same salt.
        manifest: All rows.
    """
    key = bytes.fromhex(now.salt)
    rows, volumes, added = [], [], []
    for row, line in zip(manifest.rows, manifest.lines, strict=True):
        name = _hash(key, row.id)
        if name not in before.rows:
            added.append(line)
            continue
        (row_before, volume_before), (row_now, volume_now) = before.rows[name], now.rows[name]
        if row_before != row_now:
            rows.append(line)
        if volume_before != volume_now:
            volumes.append(line)
    removed = len(before.rows.keys() - now.rows.keys())
    return DataChanges(tuple(rows), tuple(volumes), tuple(added), removed)


def rows_digest(manifest: Manifest) -> str:
    """Return a SHA-256 of rows and reports; volumes are not read."""
    digest = hashlib.sha256()
    for index, row in enumerate(manifest.rows):
        digest.update(row.model_dump_json().encode())
        digest.update(manifest.report_of(index).model_dump_json().encode())
    return digest.hexdigest()


def _sample_all(manifests: list[Manifest], key: bytes) -> dict[str, str]:
    """Return the digests of volumes by the ids of their rows."""
    rows = [(manifest, index) for manifest in manifests for index in range(len(manifest))]

    def sample(place: tuple[Manifest, int]) -> str | Problem:
        manifest, index = place
        path, where = manifest.volume_path(index), manifest.place(index, "volume")
        try:
            return _sample(path, key)
        except UnusableVolumeError as error:
            return Problem(where, str(error))
        except OSError as error:
            return Problem(where, describe_os_error(error, path))

    with ThreadPoolExecutor(_READERS) as pool:
        digests = list(pool.map(sample, rows))
    problems = [digest for digest in digests if isinstance(digest, Problem)]
    if problems:
        raise DataError(f"{manifests[0].path.name} names volumes that cannot be used", problems)
    return {
        manifest.rows[index].id: digest
        for (manifest, index), digest in zip(rows, digests, strict=True)
        if isinstance(digest, str)
    }


def _sample(path: Path, key: bytes) -> str:
    """Return a digest of the size of a volume and of samples of its content."""
    digest = hashlib.blake2b(key=key, digest_size=8)
    if path.is_dir():
        files = sorted(_files(path))
    else:
        require_file(path.stat().st_mode)
        files = [path]
    sizes = [file.stat().st_size for file in files]
    names = [file.relative_to(path).as_posix() for file in files]
    digest.update(json.dumps([names, sizes]).encode())
    sampled = files if len(files) <= _SLICES else [files[at] for at in _spread(len(files), _SLICES)]
    for file in sampled:
        for block in _blocks(file, max(1, _BLOCKS // len(sampled))):
            digest.update(block)
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and in those below it, without devices and pipes."""
    os.scandir(folder).close()  # os.walk passes over what it cannot list
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if path.is_file() or not path.exists():  # a link to nothing is an error
                yield path


def _blocks(file: Path, count: int) -> Iterator[bytes]:
    """Blocks of a file, the first and the last among them; all of it where it is small."""
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        if size <= count * _BLOCK:
            yield opened.read()
            return
        for offset in _spread(size - _BLOCK + 1, max(2, count)):
            opened.seek(offset)
            yield opened.read(_BLOCK)


def _spread(count: int, parts: int) -> list[int]:
    """Positions among ``count``, evenly spaced, the first and the last among them.

    Example:
        >>> _spread(10, 4)
        [0, 3, 6, 9]
    """
    return [at * (count - 1) // (parts - 1) for at in range(parts)]


def _hash(key: bytes, text: str) -> str:
    return hashlib.blake2b(text.encode(), key=key, digest_size=8).hexdigest()


def _shown(lines: Collection[int]) -> str:
    shown = ", ".join(map(str, list(lines)[:_SHOWN]))
    return shown if len(lines) <= _SHOWN else f"{shown} and {len(lines) - _SHOWN} more"
