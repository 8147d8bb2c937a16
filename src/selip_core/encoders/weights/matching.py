"""Which tensor of a file goes where in an encoder, and what has to be done to it."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.patches import resize_positions
from selip_core.encoders.spec import Size
from selip_core.encoders.weights.channels import Channels, adapt_channels
from selip_core.encoders.weights.layout import Fitted, Renamed, Tensors, WeightFormat
from selip_core.encoders.weights.network import (
    POOLING,
    Place,
    first_layer,
    is_derived,
    layers_with_tensors,
    patch_grid,
    places,
    window_of,
)
from selip_core.encoders.weights.positions import (
    cube,
    offsets,
    resize_bias_table,
)

_log = logging.getLogger(__name__)

Adapted = tuple[Tensor, str]
_POSITIONS = "position_embeddings"


@dataclass
class Match:
    """What is to be loaded, and what is left on both sides.

    Attributes:
        matched: Places with the values that the file has for them.
        filled: Places with values that follow from the file's kind of network.
        unmatched: Places that nothing in the file fits.
        unused: Names in the file that fit no place.
        unused_in_shared_parts: Of these, the ones in parts that the encoder has, such as a stage,
            with the number of their values.
        excess: Names in the encoder's terms of what layers have in the file and not in it.
        adapted: What was done, by the name in the encoder.
        mismatched: Shapes in the file and in the encoder, by the name in the encoder.
        ignored: How many tensors of the file are heads and the like.
    """

    matched: list[tuple[Place, Tensor]] = field(default_factory=list)
    filled: list[tuple[Place, Tensor]] = field(default_factory=list)
    unmatched: list[Place] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    unused_in_shared_parts: dict[str, int] = field(default_factory=dict)
    excess: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    ignored: int = 0


@dataclass(frozen=True)
class Adaptation:
    """How tensors of another shape are made to fit one encoder.

    Attributes:
        encoder: The encoder.
        channels: How the first layer gets another number of channels.
        grid: Patches that the file's positional embeddings stand for; ``None`` if it is not told.
        is_foreign: Whether the file is of another library: then the grid is a cube, if none is told
            and one is possible, also where the encoder has as many patches.
    """

    encoder: ImageEncoder
    channels: Channels
    grid: Size | None = None
    is_foreign: bool = False

    def __call__(self, place: Place, value: Tensor) -> Adapted | None:
        """Return a value of the place's shape and what was done; ``None`` if nothing helps."""
        if value.shape == place.tensor.shape:
            return self._as_many_of_another_grid(place, value) or (value, "")
        ways: tuple[Callable[[Place, Tensor], Adapted | None], ...] = (
            self._other_channels,
            self._other_grid,
            self._other_window,
        )
        return next(filter(None, (way(place, value) for way in ways)), None)

    def _other_channels(self, place: Place, value: Tensor) -> Adapted | None:
        wanted = place.tensor.shape
        if place.tensor is not first_layer(self.encoder) or value.ndim != len(wanted):
            return None
        if value.shape[0] != wanted[0] or value.shape[2:] != wanted[2:]:
            return None
        adapted = adapt_channels(value, wanted[1], self.channels)
        return adapted, f"{value.shape[1]} input channels to {wanted[1]} ({self.channels})"

    def _other_grid(self, place: Place, value: Tensor) -> Adapted | None:
        wanted = place.tensor.shape
        if not place.name.endswith(_POSITIONS) or value.shape[2:] != wanted[2:]:
            return None
        grid = self.grid or cube(value.shape[1])
        new_grid = patch_grid(self.encoder, wanted[1])
        if grid is None or new_grid is None:
            return None
        if math.prod(grid) != value.shape[1]:
            raise ValueError(
                f"grid {grid} has {math.prod(grid)} patches, and the file has positions of "
                f"{value.shape[1]}"
            )
        adapted = resize_positions(value.float(), grid, new_grid)
        return adapted, f"positions of {grid} patches to {new_grid}" if grid != new_grid else ""

    def _as_many_of_another_grid(self, place: Place, value: Tensor) -> Adapted | None:
        if self.grid is None and not self.is_foreign:
            return None
        adapted = self._other_grid(place, value)
        if adapted is not None and self.grid is None and adapted[1]:
            _log.warning(
                "the file tells no grid for as many positions as the encoder has, so a cube is "
                "taken: %s; if they are of the encoder's grid, give it as grid",
                adapted[1],
            )
        return adapted

    def _other_window(self, place: Place, value: Tensor) -> Adapted | None:
        wanted = place.tensor.shape
        if not place.name.endswith("relative_position_bias_table") or value.ndim != 2:
            return None
        edge = cube(value.shape[0])
        new_window = window_of(self.encoder, place.name)
        if edge is None or edge[0] % 2 == 0 or new_window is None or value.shape[1] != wanted[1]:
            return None
        half = (edge[0] + 1) // 2
        window = (half, half, half)
        depth, height, width = offsets(new_window)
        if depth * height * width != wanted[0]:
            return None
        return resize_bias_table(value, window, new_window), f"window {window} to {new_window}"


def match(layout: WeightFormat, tensors: Tensors, adapt: Adaptation) -> Match:
    """Find the place of every tensor of a file. Nothing is changed.

    Args:
        layout: The file's layout.
        tensors: The file's tensors.
        adapt: Makes tensors of another shape fit.

    Raises:
        ValueError: If two tensors of the file belong to one place, if the names of one place have
            different values, or if positions are of another grid than given.
    """
    own = places(adapt.encoder)
    known = {name: place.tensor for place in own for name in place.names}
    names = layout.rename(tensors, known)
    renamed = _rename(tensors, names)
    fitted = layout.fit(renamed, known) if layout.fit else Fitted(renamed)
    found = Match(adapted=dict(fitted.notes), ignored=len(names.ignored))
    for place in own:
        _place(found, place, fitted, adapt)
    used = {name for place, _ in found.matched for name in place.names}
    used |= renamed.keys() - fitted.tensors.keys()  # these became part of others
    left = {n: t for n, t in names.kept.items() if t not in used and not is_derived(t)}
    parts = {_part(name) for name in known}
    layers = layers_with_tensors(adapt.encoder)
    found.unused = list(left)
    found.unused_in_shared_parts = {
        name: tensors[name].numel()
        for name, target in left.items()
        if _part(target) in parts and not target.startswith(POOLING)
    }
    found.excess = [
        target
        for target in left.values()
        if target not in known
        and target.rpartition(".")[0] in layers
        and not target.startswith(POOLING)
    ]
    return found


def _part(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _place(found: Match, place: Place, fitted: Fitted, adapt: Adaptation) -> None:
    name = _name_in_file(place, fitted.tensors)
    if name is None and place.name in fitted.filled:
        found.filled.append((place, fitted.filled[place.name]))
        return
    adapted = None if name is None else adapt(place, fitted.tensors[name])
    if adapted is not None:
        value, note = adapted
        found.matched.append((place, value))
        if note:
            found.adapted[place.name] = note
        return
    found.unmatched.append(place)
    if name is not None:
        shapes = tuple(fitted.tensors[name].shape), tuple(place.tensor.shape)
        found.mismatched[place.name] = shapes


def _name_in_file(place: Place, tensors: Tensors) -> str | None:
    """Return the name under which a file has a place's tensor; several names must agree.

    Raises:
        ValueError: If a file has different values under two names of one tensor.
    """
    names = [name for name in place.names if name in tensors]
    for other in names[1:]:
        if not _are_equal(tensors[names[0]], tensors[other]):
            raise ValueError(
                f"{names[0]} and {other} are names of one tensor of the encoder, and the file has "
                "different values under them, so nothing was loaded: it is damaged, or only one "
                "of them was changed; write or fetch it again"
            )
    return names[0] if names else None


def _are_equal(a: Tensor, b: Tensor) -> bool:
    if a is b or a.shape != b.shape:
        return a is b
    return bool(((a == b) | ((a != a) & (b != b))).all())  # NaN is refused later, by its name


def _rename(tensors: Tensors, names: Renamed) -> Tensors:
    renamed: Tensors = {}
    for name, target in names.kept.items():
        if target in renamed:
            raise ValueError(
                f"two tensors of the file belong to {target} of the encoder, the second is {name}; "
                "does the file hold two networks? convert the one that is meant, by --prefix"
            )
        renamed[target] = tensors[name]
    return renamed
