"""How a published file of weights is laid out, and what is known about it."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from selip_core.pretrained.source import WeightsSource

Tensors = dict[str, Tensor]
Fit = Callable[[Tensors, Tensors], "Fitted"]
"""Fits a file's tensors to an encoder's, both under the encoder's names."""

MODULE = "module"
"""The name under which DistributedDataParallel and others keep the network that they wrap."""


@dataclass(frozen=True)
class Fitted:
    """A file's tensors after they were fitted to a kind of network.

    Attributes:
        tensors: The file's tensors; some may have become part of others.
        filled: Values for parameters that the file's network does not need.
        notes: What was done, by the names it was done to.
    """

    tensors: Tensors
    filled: Tensors = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Renamed:
    """The names of a file, as rules sort them.

    Attributes:
        kept: Name in the encoder, by name in the file.
        ignored: Names of heads and decoders, which no encoder has.
    """

    kept: dict[str, str]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class WeightFormat:
    """The layout of a family of weight files: rules from its names to those of an encoder.

    Attributes:
        name: What it is known by.
        encoders: The encoders that it fits, in words.
        source: Licence and place of what was published in this layout.
        recognised_by: Patterns of names; a file of this layout has one for each of them.
        foreign: Patterns of names that no file of this layout has.
        prefixes: Patterns stripped from the start of names, as often as one matches.
        ignored: Patterns of what is no part of the encoder, such as heads; matched from the start.
        root: What the encoder puts before the names.
        renames: Patterns and what replaces them, in this order, after the root was put.
        spacing: Millimetres a voxel along each axis that the weights were trained at, if one.
        intensity: How the weights expect the voxels to be scaled, if it is known.
        orientation: Where depth, height and width grow to, if it is known.
        trained_with: Options of encoders that the network computes with and no tensor shows, and
            what these weights were trained with; None where nobody can tell.
        fit: Fits the tensors to the encoder's kind of network.
    """

    name: str
    encoders: str
    source: WeightsSource
    recognised_by: tuple[str, ...]
    foreign: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    root: str = "network."
    renames: tuple[tuple[str, str], ...] = ()
    spacing: tuple[float, float, float] | None = None
    intensity: str | None = None
    orientation: str | None = None
    trained_with: Mapping[str, str | int | None] = field(default_factory=dict)
    fit: Fit | None = None

    def recognises(self, names: Iterable[str]) -> bool:
        """Return whether a file with these names has this layout."""
        names = list(names)
        return all(_any(pattern, names) for pattern in self.recognised_by) and not any(
            _any(pattern, names) for pattern in self.foreign
        )

    def rename(self, names: Iterable[str], known: Collection[str] = ()) -> Renamed:
        """Sort the names of a file.

        A level called ``module`` is a wrapper's, unless ``known``, the encoder's names, have it.
        """
        kept, ignored = {}, []
        for name in names:
            ways = self._ways(name)
            target = next((way for way in map(self._named, ways) if way in known), None)
            if target is None and any(re.match(pattern, ways[-1]) for pattern in self.ignored):
                ignored.append(name)
            elif target is None:
                target = self._named(ways[-1])
                plain = self._named(without_modules(ways[-1]))
                kept[name] = plain if plain in known else target
            else:
                kept[name] = target
        return Renamed(kept, tuple(ignored))

    def _named(self, name: str) -> str:
        name = self.root + name
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def _ways(self, name: str) -> list[str]:
        """The name and what remains of it as one prefix after another is stripped."""
        patterns = [r"module\.", *self.prefixes]
        ways = [name]
        while found := next(filter(None, (re.match(p, ways[-1]) for p in patterns)), None):
            ways.append(ways[-1][found.end() :])
        return ways


def without_modules(name: str) -> str:
    """Return a name without the levels that are called ``module``.

    Example:
        >>> without_modules("network.module.layer1.0.weight")
        'network.layer1.0.weight'
    """
    *levels, last = name.split(".")
    return ".".join([*(level for level in levels if level != MODULE), last])


def _any(pattern: str, names: Iterable[str]) -> bool:
    return any(re.match(pattern, name) for name in names)
