import gzip
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

# A loaded machine is not a failure: speed is measured in benchmarks, never in tests.
settings.register_profile("selip_core", deadline=None)
settings.load_profile("selip_core")


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Values of the authors' own functions; the layout is described in ``tests/data/README.md``."""
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


@pytest.fixture(scope="session")
def weight_layouts() -> dict[str, tuple[Any, dict[str, Any]]]:
    """For each published layout of weights, what makes an encoder, and a file's tensors for it."""
    pytest.importorskip("dynamic_network_architectures")
    import torch

    from selip_core import create_image_encoder

    made: dict[str, tuple[Any, dict[str, Any]]] = {}
    resnet = ("resnet10", {"width": 1 / 16})
    vit = ("vit_small", {"width": 1 / 8, "layers": 4, "native_size": (32, 32, 32)})
    for layout, (name, options), prefix, rest in (
        ("selip", resnet, "", {}),
        ("medicalnet", resnet, "module.", {"module.conv_seg.0.weight": 3}),
        ("monai-resnet", resnet, "", {"fc.weight": 3}),
        ("brainiac", resnet, "backbone.", {"projection_head.0.weight": 3}),
        ("monai-vit", vit, "vit.", {"out.conv.conv.weight": 3}),
        ("mae", vit, "encoder.", {"decoder_embed.weight": 3}),
        ("monai-swin", ("swin_tiny", {"width": 1 / 2}), "swinViT.", {"out.conv.conv.bias": 3}),
        ("openmind", ("resenc_unet", {"width": 1 / 16}), "encoder.", {"decoder.seg.weight": 3}),
    ):
        torch.manual_seed(0)

        def make(name: str = name, options: dict[str, Any] = options) -> Any:
            return create_image_encoder(name, embed_dim=6, **options)

        state = make().state_dict()
        tensors = {key: value + 0.01 for key, value in state.items() if value.is_floating_point()}
        tensors = {key: tensors.get(key, value).clone() for key, value in state.items()}
        if layout != "selip":
            start = "network."
            tensors = {
                prefix + key.removeprefix(start): value
                for key, value in tensors.items()
                if key.startswith(start)
            }
        made[layout] = make, tensors | {key: torch.ones(size) for key, size in rest.items()}
    return made


@pytest.fixture(scope="session", autouse=True)
def usual_signals() -> None:
    """Handle signals as in a terminal: nohup and shells ignore some for what they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(scope="session")
def write_bert() -> Callable[..., Path]:
    """Write a BERT of one narrow layer and random weights, with its tokenizer, into a folder."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "pons", "insula"]

    def write(folder: Path, half: bool = False) -> Path:
        vocabulary = {word: index for index, word in enumerate(words)}
        tokenizer = transformers.BertTokenizerFast(vocab=vocabulary, model_max_length=16)
        tokenizer.save_pretrained(folder)
        config = transformers.BertConfig(
            vocab_size=len(words),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=16,
        )
        torch.manual_seed(0)
        model = transformers.BertModel(config)
        (model.half() if half else model).save_pretrained(folder)
        return folder

    return write
