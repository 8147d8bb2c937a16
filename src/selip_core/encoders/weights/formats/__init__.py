"""The layouts that are known, each in a file of its own, and how one is recognised."""

from selip_core.encoders.weights.formats.brainiac import BRAINIAC
from selip_core.encoders.weights.formats.by_name import WEIGHT_FORMATS, choose_format
from selip_core.encoders.weights.formats.mae import MAE
from selip_core.encoders.weights.formats.medicalnet import MEDICALNET
from selip_core.encoders.weights.formats.monai_resnet import MONAI_RESNET
from selip_core.encoders.weights.formats.monai_swin import MONAI_SWIN
from selip_core.encoders.weights.formats.monai_vit import MONAI_VIT
from selip_core.encoders.weights.formats.openmind import OPENMIND
from selip_core.encoders.weights.formats.selip import SELIP

__all__ = [
    "BRAINIAC",
    "MAE",
    "MEDICALNET",
    "MONAI_RESNET",
    "MONAI_SWIN",
    "MONAI_VIT",
    "OPENMIND",
    "SELIP",
    "WEIGHT_FORMATS",
    "choose_format",
]
