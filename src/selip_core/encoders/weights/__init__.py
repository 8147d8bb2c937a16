"""Published weights: their layouts, and how they are loaded into image encoders."""

from selip_core.encoders.weights.channels import adapt_channels
from selip_core.encoders.weights.conversion import Conversion, convert_weights
from selip_core.encoders.weights.errors import WeightsError
from selip_core.encoders.weights.file import WeightsFile, read_weights
from selip_core.encoders.weights.formats import WEIGHT_FORMATS
from selip_core.encoders.weights.layout import WeightFormat
from selip_core.encoders.weights.loading import load_weights
from selip_core.encoders.weights.positions import resize_bias_table
from selip_core.encoders.weights.report import LoadReport

__all__ = [
    "WEIGHT_FORMATS",
    "Conversion",
    "LoadReport",
    "WeightFormat",
    "WeightsError",
    "WeightsFile",
    "adapt_channels",
    "convert_weights",
    "load_weights",
    "read_weights",
    "resize_bias_table",
]
