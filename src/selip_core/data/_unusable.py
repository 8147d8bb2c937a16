"""What every reader of volumes shares: the error it raises, and the largest volume it unpacks."""

import os

from selip_core.data._memory import VOLUME_MEMORY

LIMIT_VARIABLE = "SELIP_MAX_VOLUME_GIB"
"""Environment variable with the largest unpacked size of a volume, in GiB."""

DEFAULT_LIMIT_GIB = 2.0


class UnusableVolumeError(Exception):
    """The message says what was needed, what came and what to do, without path or value."""


def limit_bytes(setting_gib: float | None = None) -> int:
    """Return the largest unpacked size of a volume, in bytes.

    Args:
        setting_gib: The user's setting in GiB; None takes the environment variable, or 2 GiB.

    Raises:
        ValueError: If the setting or the variable is no positive number.
    """
    if setting_gib is None:
        source, text = LIMIT_VARIABLE, os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GIB)
    else:
        source, text = "max_volume_gib", str(setting_gib)
    try:
        gib = float(text)
    except ValueError:
        gib = 0.0
    if not 0 < gib < float("inf"):
        raise ValueError(f"{source} must be a positive number of GiB, got {text}")
    return int(gib * 2**30)


def require_size(unpacked: int, limit: int) -> None:
    """Refuse a volume that unpacks to more than the limit, before its voxels are read.

    Within the limit, wait until other threads leave enough memory for it.

    Args:
        unpacked: Bytes of its voxels in their type in the file or in float32, whichever is larger.
        limit: Bytes, see :func:`limit_bytes`.

    Raises:
        UnusableVolumeError: If it is larger.
    """
    if unpacked > limit:
        raise UnusableVolumeError(
            f"unpacks to {unpacked / 2**30:,.1f} GiB, more than the limit of {limit / 2**30:g} "
            "GiB; if its header is right, raise data.max_volume_gib or the "
            f"environment variable {LIMIT_VARIABLE}"
        )
    VOLUME_MEMORY.admit(unpacked)
