import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A loaded machine is not a failure: speed is measured in benchmarks, never in tests.
settings.register_profile("selip_core", deadline=None)
settings.load_profile("selip_core")


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Values of the authors' own functions; the layout is told in ``tests/data/README.md``."""
    with gzip.open(
        Path(__file__).parent / "data" / "golden.json.gz", "rt", encoding="utf-8"
    ) as file:
        return json.load(file)


@pytest.fixture
def limit_file_size() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context in which no file grows beyond a number of bytes, as on a full disk."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture
def another_user() -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which this process acts as a user without rights of its own."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can act as another user")

    @contextmanager
    def act() -> Iterator[None]:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return act


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user may enter and write into; pytest's own are for their owner alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> Any:
    """Import the file that a module of tests names ``PROGRAM``."""
    path = request.module.PROGRAM
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ranks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Run ``PROGRAM`` in two processes, and read what each has written: ``rank0.json``, ..."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, request.module.PROGRAM, folder]
    processes = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    try:
        assert [process.wait(timeout=150) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]
