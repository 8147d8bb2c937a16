"""Packages that only some users need: imported where they are used, by one function."""

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Return the imported module, or say which extra brings it.

    Raises:
        ImportError: If it is not installed; the message names ``pip install "selip-core[extra]"``.

    Example:
        >>> require("json", "demo").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ImportError(
            f'{error.name} is needed here and not installed: pip install "selip-core[{extra}]"'
        ) from error
