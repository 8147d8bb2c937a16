"""What a check of the back ends found, for people and as JSON values."""

from dataclasses import dataclass
from typing import Any, Literal, final

from selip_core.testing.tolerance import QuantityError

Status = Literal["ok", "wrong", "failed", "not checked"]
HEADINGS = ("back end", "device", "type", "features", "error", "of dense's", "time", "")


@final
@dataclass(frozen=True)
class BackendCheck:
    """One back end on one device, in one type, on features of one kind.

    Attributes:
        backend: Its name.
        device: What it ran on, as torch calls it.
        dtype: Type of the features, such as ``"float32"``.
        features: ``"random"`` or ``"converged"``.
        status: ``"wrong"`` if an error is larger than allowed, ``"failed"`` if it raised one,
            ``"not checked"`` if time was up before its turn.
        reason: What is wrong, or what it raised.
        errors: Of the loss and of its gradients; empty where nothing was computed.
        seconds: Of forward and backward, the second time.
    """

    backend: str
    device: str
    dtype: str
    features: str
    status: Status
    reason: str = ""
    errors: tuple[QuantityError, ...] = ()
    seconds: float | None = None

    @property
    def worst(self) -> QuantityError | None:
        """The error that is nearest to what is allowed, or farthest beyond."""
        # A NaN is larger than all, which `max` would not see.
        return max(
            self.errors,
            key=lambda error: error.error / error.allowed if error.error >= 0 else float("inf"),
            default=None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; an error that is no number as None."""
        errors = {
            error.quantity: {
                "error": error.error if error.error >= 0 else None,
                "dense_error": error.dense_error,
                "allowed": error.allowed,
            }
            for error in self.errors
        }
        return {**vars(self), "errors": errors}


@final
@dataclass(frozen=True)
class BackendReport:
    """Everything that :func:`check_backends` found.

    Attributes:
        versions: Of what computes, by name, and the devices there are.
        checks: A row for every back end, device, type and kind of features.
        choices: What ``"auto"`` takes and why, a sentence a device and a size of batch.
    """

    versions: dict[str, str]
    checks: tuple[BackendCheck, ...]
    choices: tuple[str, ...]

    @property
    def wrong(self) -> tuple[BackendCheck, ...]:
        """The checks of back ends that gave wrong results or none."""
        return tuple(check for check in self.checks if check.status in ("wrong", "failed"))

    def table(self) -> str:
        """Return a text for people."""
        versions = [f"{name} {version}" for name, version in self.versions.items()]
        choices = [f"auto, {choice}" for choice in self.choices]
        return "\n".join(
            [*versions, "", *_aligned([HEADINGS, *map(_cells, self.checks)]), "", *choices, "",
             *self._verdict()]
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "versions": self.versions,
            "checks": [check.as_dict() for check in self.checks],
            "choices": list(self.choices),
            "wrong": len(self.wrong),
        }

    def _verdict(self) -> list[str]:
        wrong = [
            f"{check.status}: {check.backend} on {check.device} in {check.dtype}, "
            f"{check.features} features; {check.reason}"
            for check in self.wrong
        ]
        found = wrong or ["every back end that was checked is as exact as it has to be"]
        left = sum(check.status == "not checked" for check in self.checks)
        if left == 0:
            return found
        return [f"no time for {left} of {len(self.checks)} checks: allow more seconds", *found]


def _cells(check: BackendCheck) -> tuple[str, ...]:
    error, ratio, time = "", "", ""
    if check.worst is not None:
        error = f"{check.worst.error:.1e}"
        if check.worst.dense_error:
            ratio = f"{check.worst.error / check.worst.dense_error:.2f}"
    if check.seconds is not None:
        time = f"{1000 * check.seconds:.1f} ms"
    place = (check.backend, check.device, check.dtype, check.features)
    return (*place, error, ratio, time, check.status)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
