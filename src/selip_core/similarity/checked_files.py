"""JSON files, and digests by which damage to any file is found."""

import json
from pathlib import Path
from typing import Any

from selip_core.digests import file_digest
from selip_core.strict_json import parse_json

AGAIN = "fit and save again"


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write what JSON can hold, lone surrogates included: these are no UTF-8."""
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


def read_json(path: Path, kind: type) -> Any:
    """Return what a file holds.

    Raises:
        ValueError: If it is missing or no JSON, or holds another kind of value.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8", errors="surrogatepass"))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{path} is missing or damaged; {AGAIN}") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} must hold a JSON {kind.__name__}; {AGAIN}")
    return content


def require_digest(path: Path, digest: Any) -> None:
    """Refuse a file that is missing or not, bit by bit, the one that was written.

    Raises:
        ValueError: If so.
    """
    try:
        own = file_digest(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing; {AGAIN}") from error
    if own != digest:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is {own}, and the card says {digest}; {AGAIN}"
        )
