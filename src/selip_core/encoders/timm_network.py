"""2D networks of timm as feature pyramids."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from selip_core._optional import require
from selip_core.encoders.dry_run import dry_run

ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})
"""What makes a network of a fixed image size take others, if it can."""

OPTIONS = frozenset(
    {
        *("act_layer", "aa_layer", "norm_layer"),
        *("attn_drop_rate", "drop_block_rate", "drop_path_rate", "drop_rate", "proj_drop_rate"),
        *("base_width", "cardinality", "channels", "stem_type", "stem_width", "width"),
        *("depth", "depths", "dims", "embed_dim", "layers", "mlp_ratio", "num_heads"),
        *("img_size", "patch_size", "reg_tokens", "window_size"),
        *("init_values", "ls_init_value", "qk_norm", "qkv_bias", "zero_init_last"),
        *("out_indices", "output_stride"),
    }
)
"""Arguments of ``timm.create_model`` that tell of the network alone.

Others let timm read pickles or ask the network, and these arguments may come from a file.
"""


@dataclass(frozen=True)
class TimmModel:
    """A model of timm by name, cut to its feature pyramid.

    Attributes:
        name: Name in timm, such as ``"resnet18"``, or of its weights, ``"resnet18.a1_in1k"``.
        in_channels: Channels of an image.
        options: More arguments of ``timm.create_model``, of :data:`OPTIONS`.

    Raises:
        ValueError: If an option is none of those.
    """

    name: str
    in_channels: int
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        refused = sorted(map(str, self.options.keys() - OPTIONS))
        if refused:
            raise ValueError(
                f"model_options can be {', '.join(sorted(OPTIONS))}, got {', '.join(refused)}; "
                "weights of timm are loaded by load_timm_weights"
            )

    def create(self, **more: Any) -> nn.Module:
        """Return the network, with random weights unless ``more`` says otherwise.

        Raises:
            ImportError: If timm or torchvision is missing; the message tells what to install.
            ValueError: If timm has no such model, if it gives no maps of it, or if the model takes
                images of one size only.
        """
        timm = require_timm()
        fixed = self.published().fixed_input_size
        options = {**self.options, **more, "features_only": True, "in_chans": self.in_channels}
        for any_size in ANY_SIZE if fixed else ({},):
            network = _create(timm, self.name, any_size | options)
            if network is not None and not _is_strict(network):
                return network
        raise ValueError(f"{self.name} takes images of one size only, and slices come in any")

    def trained(self, tensors: Mapping[str, Tensor], classes: int | None) -> nn.Module:
        """Return the network with weights, brought into its form by timm's own loading.

        Raises:
            KeyError: If they do not fit.
            RuntimeError: As KeyError.
        """
        # As a state dict they go before all places that timm would otherwise read them from.
        overlay: dict[str, Any] = {"state_dict": dict(tensors)}
        more: dict[str, Any] = {"pretrained": True}
        if classes is not None:
            overlay["num_classes"] = more["num_classes"] = classes
        return self.create(**more, pretrained_cfg_overlay=overlay)

    def published(self) -> Any:
        """Return what timm knows of the weights that it publishes: where, and of which images.

        Raises:
            ImportError: If timm or torchvision is missing; the message tells what to install.
            ValueError: If timm has no such model.
        """
        timm = require_timm()
        try:
            if self.name.partition(".")[0] in timm.list_models():
                return timm.get_pretrained_cfg(self.name) or timm.models.PretrainedCfg()
        except RuntimeError:  # there are no weights of this name
            pass
        raise ValueError(
            f"timm {timm.__version__} has no model {self.name!r}; timm.list_models() has them all. "
            "Folders and models of the hub are none: load_timm_weights takes their weights"
        )


def require_timm() -> ModuleType:
    """Return timm, which needs a torchvision that was built for this torch.

    Raises:
        ImportError: If one of them is missing or does not fit; the message tells what to install.
    """
    try:
        return require("timm", "timm")
    except (ModuleNotFoundError, RuntimeError) as error:
        # Beside another torch, torchvision finds operators missing.
        if "torchvision" not in str(error):
            raise
        version = torch.__version__
        raise ImportError(
            "timm needs torchvision, which is not installed or was built for another torch "
            f'({error}): pip install "selip-core[timm]" and the torchvision of torch {version}, '
            "both from where that torch came from",
            name="torchvision",
        ) from error


def _create(timm: Any, name: str, options: dict[str, Any]) -> nn.Module | None:
    """Return the network, or None if it knows nothing of the options of ``ANY_SIZE``."""
    try:
        return timm.create_model(name, **options)  # type: ignore[no-any-return]
    except TypeError as error:
        if any(key in str(error) for any_size in ANY_SIZE for key in any_size):
            return None
        raise ValueError(f"timm's {name} does not take these model_options: {error}") from error
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        # Which networks have maps changes with timm, and so do its words: without maps it is made.
        if options.get("pretrained") or not _is_made_without_maps(timm, name, options):
            raise
        raise ValueError(f"timm gives no feature maps of {name}: choose another") from error


def _is_made_without_maps(timm: Any, name: str, options: Mapping[str, Any]) -> bool:
    apart = {"features_only", "out_indices", "output_stride"}.union(*ANY_SIZE)
    plain = {key: value for key, value in options.items() if key not in apart}
    try:
        dry_run(lambda: timm.create_model(name, **plain))
    except Exception:  # then the maps are not what is wrong
        return False
    return True


def require_maps_as_described(name: str, network: Any, in_channels: int) -> None:
    """Refuse a network whose maps are not those that timm describes, where a dry run shows it.

    Raises:
        ValueError: If a map has other channels or another size.
    """
    information = network.feature_info
    channels, strides = information.channels(), information.reduction()
    size = 2 * math.lcm(*strides)
    tensors = dict([*network.named_parameters(), *network.named_buffers()])
    weightless = {key: tensor.detach().to("meta") for key, tensor in tensors.items()}
    image = torch.empty(1, in_channels, size, size, device="meta")
    training = network.training
    try:
        with torch.no_grad():
            maps = torch.func.functional_call(network.eval(), weightless, (image,))
    except Exception:  # it computes with tensors that it has not registered: nothing is shown
        return
    finally:
        network.train(training)
    got = [tuple(each.shape[1:]) for each in channels_first(network, maps)]
    wanted = [
        (width, size // stride, size // stride)
        for width, stride in zip(channels, strides, strict=True)
    ]
    if got != wanted:
        raise ValueError(
            f"the maps of timm's {name} are not as timm describes them: of an image of {size} x "
            f"{size} it should give {wanted} (channels, height, width), and it gives {got}: choose "
            "another model"
        )


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
