"""2D networks of timm as feature pyramids."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from selip_core._optional import require

ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})
"""What makes a network of a fixed image size take others, if it can."""


@dataclass(frozen=True)
class TimmModel:
    """A model of timm by name, cut to its feature pyramid.

    Attributes:
        name: Name in timm, such as ``"resnet18"``.
        in_channels: Channels of an image.
        options: More arguments of ``timm.create_model``.
    """

    name: str
    in_channels: int
    options: Mapping[str, Any]

    def create(self, **more: Any) -> nn.Module:
        """Return the network, with random weights unless ``more`` says otherwise.

        Raises:
            ImportError: If timm is missing; the message tells what to install.
            ValueError: If timm has no such model, if it gives no maps of it, or if the model takes
                images of one size only.
        """
        timm = require("timm", "timm")
        name = self.name.partition(".")[0]
        if name not in timm.list_models():
            raise ValueError(
                f"timm {timm.__version__} has no model {name!r}; timm.list_models() has them all"
            )
        options = {"features_only": True, "in_chans": self.in_channels, **self.options, **more}
        fixed = timm.get_pretrained_cfg(name).fixed_input_size
        for any_size in ANY_SIZE if fixed else ({},):
            network = _create(timm, self.name, any_size | options)
            if network is not None and not _is_strict(network):
                return network
        raise ValueError(f"{name} takes images of one size only, and slices come in any")

    def trained(self, file: Path | None, classes: int | None) -> nn.Module:
        """Return the network with the weights of a file, or with those that timm publishes.

        Raises:
            ValueError: If the file is not of safetensors, or if it does not fit.
        """
        overlay: dict[str, Any] = {}
        if file is not None:
            if file.suffix != ".safetensors":
                raise ValueError(f"weights must be a file of safetensors, got {file}")
            overlay["file"] = str(file)
        more: dict[str, Any] = {"pretrained": True}
        if classes is not None:
            overlay["num_classes"] = more["num_classes"] = classes
        try:
            return self.create(**more, pretrained_cfg_overlay=overlay)
        except (KeyError, RuntimeError) as error:
            what = file or "what timm publishes"
            raise ValueError(f"{what} does not fit timm's {self.name}: {error}") from error


def _create(timm: Any, name: str, options: dict[str, Any]) -> nn.Module | None:
    """Return the network, or None if it knows nothing of the options of ``ANY_SIZE``."""
    try:
        return timm.create_model(name, **options)  # type: ignore[no-any-return]
    except TypeError as error:
        if any(key in str(error) for any_size in ANY_SIZE for key in any_size):
            return None
        raise
    except RuntimeError as error:
        if "features_only" not in str(error):
            raise
        raise ValueError(f"timm gives no feature maps of {name}: choose another") from error


def _is_strict(network: nn.Module) -> bool:
    return any(getattr(module, "strict_img_size", False) for module in network.modules())


def channels_first(network: nn.Module, maps: list[Tensor]) -> list[Tensor]:
    """Return the maps as ``(batch, channel, height, width)``, whatever the network's own order."""
    if getattr(network, "output_fmt", None) == "NHWC":
        return [m.movedim(-1, 1) for m in maps]
    return maps


def network_stages(network: Any) -> list[list[nn.Module]]:
    """Return the parts of the network up to each of its maps; every parameter once."""
    ends = {
        form
        for name in network.feature_info.module_name()
        for form in (name, name.replace(".", "_"), f"model.{name}")
    }
    groups: list[list[nn.Module]] = [[]]
    for name, part in _parts(network, "", ends):
        groups[-1].append(part)
        if name in ends:
            groups.append([])
    last = groups.pop()
    if groups:
        groups[-1].extend(last)
        return groups
    return [last]


def _parts(module: nn.Module, path: str, ends: set[str]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the largest modules that a map does not come from inside of, in order."""
    own = list(module.parameters(recurse=False))
    if own:
        yield path, nn.ParameterList(own)
    for name, child in module.named_children():
        inside = f"{path}{name}."
        if any(end.startswith(inside) for end in ends):
            yield from _parts(child, inside, ends)
        else:
            yield f"{path}{name}", child
