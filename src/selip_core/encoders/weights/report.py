"""What a load did, to be read and to be used."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from selip_core.pretrained.source import WeightsSource

SHOWN = 5
"""Names that a list shows; the report holds all."""


@dataclass(frozen=True)
class LoadReport:
    """What of a file went where.

    Attributes:
        file: The file's name.
        format: The name of its layout.
        source: Licence and origin of the weights.
        matched: Names of the encoder's tensors that the file had.
        matched_parameters: How many parameters of the encoder's network came from the file.
        encoder_parameters: How many parameters that network has, without its pooling.
        used_parameters: How many values of the file were used.
        file_parameters: How many values the file has for the stages that the encoder has.
        adapted: What was done to tensors that did not fit as they were, by name in the encoder.
        unmatched_file: Names in the file that fit nothing in the encoder.
        unmatched_encoder: Names of parameters in the encoder that the file does not fit.
        mismatched: Shapes in the file and in the encoder where both have the name.
        missing_buffers: Names of buffers, such as running statistics, that the file lacks.
        untold: Options of the encoder that no tensor of the file shows: what the weights were
            trained with, None if nobody can tell, and what the encoder was made with.
        ignored: How many tensors of the file were heads, decoders and the like.
        pooling_loaded: Whether the file had the pooling, too; mostly it stays as it was.
    """

    file: str
    format: str
    source: WeightsSource
    matched: tuple[str, ...]
    matched_parameters: int
    encoder_parameters: int
    used_parameters: int
    file_parameters: int
    adapted: Mapping[str, str]
    unmatched_file: tuple[str, ...]
    unmatched_encoder: tuple[str, ...]
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    missing_buffers: tuple[str, ...]
    untold: Mapping[str, tuple[str | int | None, str | int]]
    ignored: int
    pooling_loaded: bool

    @property
    def share(self) -> float:
        """Share of the encoder's parameters that the file has, in ``[0, 1]``; without pooling."""
        return self.matched_parameters / max(1, self.encoder_parameters)

    @property
    def used_share(self) -> float:
        """Share of the file's values for the stages that the encoder has, in ``[0, 1]``.

        Heads do not count, nor stages that the encoder was made without: ``unmatched_file`` has
        the names of these.
        """
        return self.used_parameters / max(1, self.file_parameters)

    @property
    def differing(self) -> Mapping[str, str | int]:
        """What the weights were trained with and the encoder was not made with, by option."""
        return {
            option: theirs
            for option, (theirs, ours) in self.untold.items()
            if theirs is not None and theirs != ours
        }

    def __str__(self) -> str:
        """Return a table of two columns."""
        rows = [
            ("file", self.file),
            ("format", self.format),
            ("licence", self.source.licence),
            ("source", self.source.url or "not told by the file"),
            ("matched", self._matched()),
            ("used of the file", self._used()),
            ("adapted", self._adapted()),
            ("trained with", self._trained_with()),
            ("not in the file", listed(self.unmatched_encoder)),
            ("not in the encoder", listed(self.unmatched_file)),
            ("missing buffers", listed(self.missing_buffers)),
            ("pooling", "loaded, not counted" if self.pooling_loaded else "as it was, not counted"),
        ]
        width = max(len(name) for name, _ in rows) + 2
        return "\n".join(
            f"{name:<{width}}" + text.replace("\n", "\n" + " " * width) for name, text in rows
        )

    def _matched(self) -> str:
        return (
            f"{len(self.matched)} tensors, {self.matched_parameters:,} of "
            f"{self.encoder_parameters:,} parameters ({percent(self.share)})"
        )

    def _used(self) -> str:
        left = [f"{len(self.unmatched_file)} tensors"] if self.unmatched_file else []
        left += [f"{self.ignored} of heads and the like"] if self.ignored else []
        apart = f"; left out: {', '.join(left)}" if left else ""
        return f"{percent(self.used_share)} of the stages that the encoder has{apart}"

    def _trained_with(self) -> str:
        lines = []
        for option, (theirs, ours) in self.untold.items():
            if theirs is None:
                lines.append(f"{option} not told by the file; the encoder has {ours!r}")
            else:
                other = f"; the encoder has {ours!r}" if option in self.differing else ""
                lines.append(f"{option} {theirs!r}{other}")
        return "\n".join(lines) or "options that the tensors show"

    def _adapted(self) -> str:
        lines = [f"{name}: {what}" for name, what in list(self.adapted.items())[:SHOWN]]
        if len(self.adapted) > SHOWN:
            lines.append(f"... and {len(self.adapted) - SHOWN} more")
        return "\n".join(lines) or "none"


def percent(share: float) -> str:
    """Return a share in percent; 100 % only if nothing is missing.

    Example:
        >>> percent(0.99999), percent(1.0)
        ('99.9 %', '100.0 %')
    """
    return f"{int(share * 1000) / 10:.1f} %"


def listed(names: Iterable[str]) -> str:
    """Return the first few names and how many more there are.

    Example:
        >>> listed("abcdefg"), listed(())
        ('a, b, c, d, e ... and 2 more', 'none')
    """
    names = list(names)
    more = f" ... and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
