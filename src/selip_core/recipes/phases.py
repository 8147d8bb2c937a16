"""Phases of a long program: each is done once, and its seconds are kept."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selip_core.files import atomic_path
from selip_core.folders import require_writable
from selip_core.recipes.config_file import flatten


class Phases:
    """Runs what is not done yet, and remembers how long it took, interrupted or not.

    Args:
        path: A JSON file; made if it is missing.
        settings: What the program was started with; JSON.

    Raises:
        ValueError: If the file was made with other settings, or its folder cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> phases = Phases(folder / "phases.json", {"seed": 0})
        >>> phases.run("write", folder / "a.txt", lambda: (folder / "a.txt").write_text("done"))
        >>> list(phases.seconds)
        ['write']
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self._settings: dict[str, Any] = json.loads(json.dumps(settings))
        self.seconds: dict[str, float] = {}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            self._require_same(found["settings"])
            self.seconds = found["seconds"]
        require_writable(path.parent)
        self._write()

    def run(self, name: str, done: Path, work: Callable[[], object]) -> None:
        """Call ``work`` unless ``done`` is there, which it makes last."""
        if done.exists():
            return
        start = time.perf_counter()
        try:
            work()
        finally:
            passed = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + passed, 1)
            self._write()

    def _require_same(self, found: dict[str, Any]) -> None:
        before, after = flatten(found), flatten(self._settings)
        keys = sorted({**before, **after}, key=lambda key: (key.count("."), key))
        # Sections that share a setting, as two runs share their seed, tell it once.
        told = dict.fromkeys(
            f"{key.rpartition('.')[2]} was {before.get(key)!r}, is now {after.get(key)!r}"
            for key in keys
            if before.get(key) != after.get(key)
        )
        if told:
            raise ValueError(
                f"{self._path.parent} was started with other settings ({'; '.join(told)}); "
                "give the earlier ones to go on with it, or choose another folder"
            )

    def _write(self) -> None:
        with atomic_path(self._path) as temporary:
            content = {"settings": self._settings, "seconds": self.seconds}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
