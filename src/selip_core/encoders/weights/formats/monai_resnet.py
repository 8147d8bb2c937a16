"""A ResNet of MONAI or of its like, by whoever trained it.

Facts:
    The names are those of ``monai.networks.nets.ResNet`` and of torchvision: ``conv1``, ``bn1``,
    ``layer1`` to ``layer4``, and the head ``fc``. MONAI's own default gives the convolutions of
    shortcuts a bias. The file tells neither licence nor preparation.
"""

from selip_core.encoders.weights.layout import WeightFormat
from selip_core.encoders.weights.shortcuts import fit_shortcuts
from selip_core.pretrained.source import WeightsSource

MONAI_RESNET = WeightFormat(
    name="monai-resnet",
    encoders="`resnet10` to `resnet200`, with the stem it was trained with",
    source=WeightsSource("monai-resnet", "not told by the file", ""),
    recognised_by=(
        r"(model\.|net\.)*conv1\.weight$",
        r"(model\.|net\.)*layer\d\.0\.conv1\.weight$",
    ),
    prefixes=(r"model\.", r"net\."),
    ignored=(r"fc\.",),
    trained_with={"stem": None},
    fit=fit_shortcuts,
)
