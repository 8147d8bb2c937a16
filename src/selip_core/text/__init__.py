"""Text encoders: report texts to embeddings."""

import selip_core.text.saving  # noqa: F401  # registers how they are saved
from selip_core.text.chunking import Chunking
from selip_core.text.encoder import TextEncoder
from selip_core.text.lora import Lora
from selip_core.text.tokenizing import Tokenize

__all__ = ["Chunking", "Lora", "TextEncoder", "Tokenize"]
