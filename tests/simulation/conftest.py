import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from selip_core.data import read_manifest
from selip_core.simulation import simulate


def hash_files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def hashes() -> Callable[[Path], dict[str, str]]:
    """Digests of all files of a folder by relative path."""
    return hash_files


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Forty simulated studies at 8 mm: folder, manifest, and truth by study."""
    out = tmp_path_factory.mktemp("simulated") / "set"
    path = simulate(out, 40, spacing=8.0, workers=1, progress=False, normal_share=0.25)
    rows = [json.loads(line) for line in (out / "truth.jsonl").read_text("utf-8").splitlines()]
    return SimpleNamespace(
        out=out, manifest=read_manifest(path), truth={row["study"]: row for row in rows}
    )
