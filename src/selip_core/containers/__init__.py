"""Recognition of files that are not what a command reads."""

from selip_core.containers.recognition import (
    JSON_LINES,
    WrongContainerError,
    encoding_advice,
    foreign_document,
    foreign_text,
    read_container,
)

__all__ = [
    "JSON_LINES",
    "WrongContainerError",
    "encoding_advice",
    "foreign_document",
    "foreign_text",
    "read_container",
]
