"""Sequential reading of a volume's file, with gzip unpacked and its checksum verified."""

import zlib
from pathlib import Path
from typing import BinaryIO

from selip_core.data.unusable import UnusableVolumeError

GZIP_MAGIC = b"\x1f\x8b"

_PACKED = 1 << 16
_UNPACKED = 1 << 20
_COPY = "copy the file again from its source"


class ByteStream:
    """The content of an open file, in order; gzip is unpacked as it is read.

    Unpacking stops where reading stops, so that a small file cannot unpack to more than the
    caller asks for. zlib compares length and CRC-32 of each gzip member with its footer (RFC
    1952), but only a reader that goes on to the end gets there: see :meth:`read`. Members may
    follow each other, and zero bytes may follow the last, as ``gzip`` allows.

    Args:
        file: Open for reading in binary, at its start.

    Attributes:
        compressed: Whether the content is gzip, by its first two bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending = file.read(_PACKED)
        self.compressed = self._pending.startswith(GZIP_MAGIC)
        self._member = zlib.decompressobj(wbits=31) if self.compressed else None
        self._head = b""

    def peek(self, count: int) -> bytes:
        """Return the next bytes, ``count`` or as many as there are, without passing them."""
        while len(self._head) < count and (part := self._next(count - len(self._head))):
            self._head += part
        return self._head[:count]

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes, and none only at the end, whose checksum then agrees.

        Raises:
            UnusableVolumeError: If the gzip stream is damaged, cut, or followed by other bytes.
            OSError: If the disk fails.
        """
        if self._head:
            part, self._head = self._head[:count], self._head[count:]
            return part
        return self._next(count)

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer of bytes; return how many there were, fewer only at the end."""
        filled = 0
        if self._member is None:
            while self._head or self._pending:
                part = self.read(len(buffer) - filled)
                buffer[filled : filled + len(part)] = part
                filled += len(part)
                if filled == len(buffer):
                    return filled
            return filled + self._file.readinto(buffer[filled:])  # type: ignore[attr-defined,no-any-return]
        while filled < len(buffer) and (part := self.read(min(len(buffer) - filled, _UNPACKED))):
            buffer[filled : filled + len(part)] = part
            filled += len(part)
        return filled

    def skip(self, count: int) -> int:
        """Pass ``count`` bytes; return how many there were, fewer only at the end."""
        passed = 0
        while passed < count and (part := self.read(min(count - passed, _UNPACKED))):
            passed += len(part)
        return passed

    def _next(self, count: int) -> bytes:
        if self._member is None:
            if not self._pending:
                return self._file.read(count)
            part, self._pending = self._pending[:count], self._pending[count:]
            return part
        while not self._member.eof or self._start_member():
            part = self._inflate(count)
            if part:
                return part
        return b""

    def _inflate(self, count: int) -> bytes:
        assert self._member is not None
        if not self._pending:
            self._pending = self._file.read(_PACKED)
        at_end = not self._pending
        try:
            part = self._member.decompress(self._pending, count)
        except zlib.error as error:
            cause = str(error).rpartition(": ")[2]
            raise UnusableVolumeError(f"its gzip stream is damaged ({cause}); {_COPY}") from None
        self._pending = self._member.unused_data or self._member.unconsumed_tail
        if at_end and not part and not self._member.eof:
            raise UnusableVolumeError(
                f"is truncated: its gzip stream stops before its end; {_COPY}"
            )
        return part

    def _start_member(self) -> bool:
        """Open the next gzip member; return False at the end of the file."""
        while not (rest := self._pending.lstrip(b"\0")):
            self._pending = self._file.read(_PACKED)
            if not self._pending:
                return False
        self._pending = rest if len(rest) > 1 else rest + self._file.read(_PACKED)
        if not self._pending.startswith(GZIP_MAGIC):
            raise UnusableVolumeError(
                f"other bytes follow the end of its gzip stream, as of a damaged copy; {_COPY}"
            )
        self._member = zlib.decompressobj(wbits=31)
        return True


def require_matching_suffix(path: Path, compressed: bool) -> None:
    """Refuse a NIfTI file whose suffix disagrees with its content about compression.

    Raises:
        UnusableVolumeError: If ``.gz`` is not gzip, or ``.nii`` is.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz" and not compressed:
        raise UnusableVolumeError("is not compressed; name it .nii")
    if suffix == ".nii" and compressed:
        raise UnusableVolumeError("is compressed; name it .nii.gz")
