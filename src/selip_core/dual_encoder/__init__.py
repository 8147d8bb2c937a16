"""The dual encoder: an image encoder, a text encoder and the scale of their logits."""

import selip_core.dual_encoder.saving  # noqa: F401  # registers how it is saved
from selip_core.dual_encoder.model import DualEncoder, DualEncoderOutput, unit_norm

__all__ = ["DualEncoder", "DualEncoderOutput", "unit_norm"]
