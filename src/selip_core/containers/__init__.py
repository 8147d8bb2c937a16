"""Recognition of files that are not what a command reads."""

from selip_core.containers.recognition import (
    JSON_LINES,
    WrongContainerError,
    encoding_advice,
    foreign_document,
    foreign_text,
    foreign_volume,
    read_container,
)
from selip_core.containers.signatures import HEAD

__all__ = [
    "HEAD",
    "JSON_LINES",
    "WrongContainerError",
    "encoding_advice",
    "foreign_document",
    "foreign_text",
    "foreign_volume",
    "read_container",
]
