"""Checks of rows that share a volume: one file, by whatever path, or files of equal content."""

import hashlib
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from selip_core.data.check_result import Issue
from selip_core.data.manifest import Manifest
from selip_core.data.streams import GZIP_MAGIC, ByteStream
from selip_core.data.unusable import UnusableVolumeError, limit_bytes

_CHUNK = 1 << 20
_TRAILER = 8
"""Bytes at the end of a gzip file: the CRC-32 and the size of what is in it."""


def check_same_volumes(manifest: Manifest, workers: int | None) -> Iterator[Issue]:
    """Yield rows that share a volume.

    One file (by path, link or hard link) in two splits is an error, and within a split a warning.
    Equal content, compressed or not, in two splits is a warning; only files of equal size are read.
    """
    files: dict[Hashable, list[int]] = defaultdict(list)
    for index in range(len(manifest)):
        with suppress(OSError, ValueError):  # a volume that is missing is an issue of its own
            status = manifest.volume_path(index).stat()
            files[status.st_dev, status.st_ino].append(index)
    for rows in files.values():
        yield from _one_file(manifest, rows)
    if len({row.split for row in manifest.rows}) > 1:
        yield from _equal_content(manifest, [rows[0] for rows in files.values()], workers)


def _one_file(manifest: Manifest, rows: list[int]) -> Iterator[Issue]:
    first, *others = rows
    split, line = manifest.rows[first].split, manifest.lines[first]
    for index in others:
        row, where = manifest.rows[index], manifest.place(index, "volume")
        if row.split == split:
            yield Issue("warning", "volume", where, f"the volume of line {line} again", row.volume)
            continue
        message = (
            f"the volume of line {line}, which is in split {split!r}, is in split {row.split!r} "
            "too; put all rows of a volume into one split"
        )
        yield Issue("error", "volume in two splits", where, message, row.volume)


def _equal_content(manifest: Manifest, rows: list[int], workers: int | None) -> Iterator[Issue]:
    groups = [rows]
    for key in (_unpacked_size, _checksum, _digest):  # each is dearer than the one before
        groups = _split_groups(manifest, groups, key, workers)
    for first, *others in groups:
        split, line = manifest.rows[first].split, manifest.lines[first]
        for index in others:
            row = manifest.rows[index]
            if row.split != split:
                message = (
                    f"the content of this volume is that of line {line}, which is in split "
                    f"{split!r}; this row is in split {row.split!r}"
                )
                where = manifest.place(index, "volume")
                yield Issue("warning", "volume in two splits", where, message, row.volume)


def _split_groups(
    manifest: Manifest,
    groups: list[list[int]],
    key: Callable[[Path], int | str],
    workers: int | None,
) -> list[list[int]]:
    """Return the groups divided by a key of their volumes, without those of one split."""
    finer: list[list[int]] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for group in groups:
            divided: dict[Hashable, list[int]] = defaultdict(list)
            keys = pool.map(_of_all_files(key), [manifest.volume_path(index) for index in group])
            for index, found in zip(group, keys, strict=True):
                if found:
                    divided[found].append(index)
            finer += divided.values()
    return [group for group in finer if len({manifest.rows[index].split for index in group}) > 1]


def _of_all_files(
    key: Callable[[Path], int | str],
) -> Callable[[Path], tuple[int | str, ...]]:
    """Return a function of a volume: the keys of its file, or of all files of its folder."""

    def keys_of(volume: Path) -> tuple[int | str, ...]:
        try:
            paths = volume.iterdir() if volume.is_dir() else [volume]
            return tuple(sorted(map(key, filter(Path.is_file, paths)), key=str))
        except (OSError, UnusableVolumeError):  # an issue of the check that reads volumes
            return ()

    return keys_of


def _unpacked_size(path: Path) -> int:
    trailer = _gzip_trailer(path)
    return path.stat().st_size if trailer is None else int.from_bytes(trailer[4:], "little")


def _checksum(path: Path) -> int:
    trailer = _gzip_trailer(path)
    if trailer is not None:
        return int.from_bytes(trailer[:4], "little")
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _gzip_trailer(path: Path) -> bytes | None:
    """Return CRC-32 and size of the content, which end a gzip file; None of another file."""
    with path.open("rb") as file:
        if file.read(len(GZIP_MAGIC)) != GZIP_MAGIC or path.stat().st_size < 2 * _TRAILER:
            return None
        file.seek(-_TRAILER, os.SEEK_END)
        return file.read()


def _digest(path: Path) -> str:
    """Return a SHA-256 of the unpacked content, up to the largest size of a volume."""
    digest, left = hashlib.sha256(), limit_bytes()
    with path.open("rb") as file:
        stream = ByteStream(file)
        while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()
