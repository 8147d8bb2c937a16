"""The layouts by name, and which of them a file has."""

from collections.abc import Iterable

from selip_core.encoders.weights.formats.brainiac import BRAINIAC
from selip_core.encoders.weights.formats.mae import MAE
from selip_core.encoders.weights.formats.medicalnet import MEDICALNET
from selip_core.encoders.weights.formats.monai_resnet import MONAI_RESNET
from selip_core.encoders.weights.formats.monai_swin import MONAI_SWIN
from selip_core.encoders.weights.formats.monai_vit import MONAI_VIT
from selip_core.encoders.weights.formats.openmind import OPENMIND
from selip_core.encoders.weights.formats.selip import SELIP
from selip_core.encoders.weights.layout import WeightFormat, without_modules
from selip_core.encoders.weights.wrappers import drop_transparent
from selip_core.errors import did_you_mean

WEIGHT_FORMATS: dict[str, WeightFormat] = {
    layout.name: layout
    for layout in (
        MEDICALNET,
        BRAINIAC,
        OPENMIND,
        MONAI_SWIN,
        MONAI_VIT,
        MAE,
        MONAI_RESNET,
        SELIP,
    )
}
"""Every known layout by its name."""


def recognised_formats(names: Iterable[str], prefix: str = "") -> list[str]:
    """Return the names of the layouts that a file with these names can have.

    Args:
        names: The names.
        prefix: What was taken off them; layouts that show with it are preferred.

    Example:
        >>> recognised_formats(["module.conv1.weight", "module.layer4.0.conv1.weight"])
        ['medicalnet']
    """
    names = [drop_transparent(name) for name in names]
    whole = [drop_transparent(prefix + name) for name in names]
    found = _recognised(whole) or _recognised(map(without_modules, whole))
    return recognised_formats(names) if prefix and not found else found


def _recognised(names: Iterable[str]) -> list[str]:
    names = list(names)
    return [layout.name for layout in WEIGHT_FORMATS.values() if layout.recognises(names)]


def choose_format(name: str, names: Iterable[str], prefix: str = "") -> WeightFormat:
    """Return the layout of this name; for ``"auto"``, the one that a file's names show.

    Names from which a converter took a prefix are first looked at with it.

    Raises:
        ValueError: If no layout has this name, or if the names show none or several.
    """
    if name != "auto":
        if name not in WEIGHT_FORMATS:
            known = did_you_mean(name, ["auto", *WEIGHT_FORMATS])
            raise ValueError(f"no format of weights is named {name!r}; {known}")
        return WEIGHT_FORMATS[name]
    names = list(names)
    found = recognised_formats(names, prefix)
    if len(found) > 1:
        raise ValueError(f"the file could be of the formats {found}; name the one that it is")
    if not found:
        raise ValueError(
            f"the names in the file are of no known format, such as {names[:3]}; if one of "
            f"{list(WEIGHT_FORMATS)} fits, name it as format"
        )
    return WEIGHT_FORMATS[found[0]]
