"""Text encoders: report texts to embeddings."""

from selip_core.text.encoder import TextEncoder

__all__ = ["TextEncoder"]
