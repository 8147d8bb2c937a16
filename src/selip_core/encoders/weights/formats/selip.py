"""What this library saved: an encoder, or a dual encoder, whose image encoder is taken.

Facts:
    Names are those of ``encoder.state_dict()``, under ``image_encoder.`` in a dual encoder. Pooling
    comes along where its shapes are the same.
"""

from selip_core.encoders.weights.layout import WeightFormat
from selip_core.pretrained.source import WeightsSource

SELIP = WeightFormat(
    name="selip",
    encoders="the encoder that was saved, with its options",
    source=WeightsSource("selip", "not told by the file", ""),
    recognised_by=(r"(.*\.)?network\.", r"(.*\.)?pooling\."),
    prefixes=(r"(?:model|dual_encoder|image_encoder)\.",),
    ignored=(r"text_encoder\.", r"log_logit_scale$"),
    trained_with={"stem": None, "heads": None},
    root="",
)
