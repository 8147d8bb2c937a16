"""``selip convert-weights``: what it writes, and what it refuses."""

import argparse
import collections
import contextlib
import hashlib
import io
import itertools
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tarfile
import types
import typing
import zipfile
from datetime import datetime

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open

from selip_core.cli import main
from selip_core.encoders import ResNetEncoder
from selip_core.encoders.weights import convert_weights, load_weights, read_weights, unpickling

in_a_process_of_its_own = pytest.mark.parametrize("here", [False])


@pytest.fixture
def here():
    """Whether the unpickling program is run in this process, which spares it importing torch."""
    return True


@pytest.fixture(autouse=True)
def unpickle_here(monkeypatch, here):
    def run(command, input, **_):
        output = io.StringIO()
        monkeypatch.setattr(sys, "stdin", io.StringIO(input))
        with contextlib.redirect_stdout(output):
            code = unpickling.main()
        return subprocess.CompletedProcess(command, code, output.getvalue(), "")

    if here:
        monkeypatch.setattr(subprocess, "run", run)


class Evil:
    """Runs a command when it is unpickled by anything that trusts it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def source(tmp_path):
    """Write content as ``torch.save`` does and return the path."""

    def write(content, **options):
        path = tmp_path / "weights.pth"
        torch.save(content, path, **options)
        return path

    return write


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights.safetensors"


def resnet():
    torch.manual_seed(0)
    return ResNetEncoder(10, embed_dim=6, width=1 / 16)


def refused(capsys, *arguments):
    assert main(["convert-weights", *map(str, arguments)]) == 2
    return capsys.readouterr().err


@in_a_process_of_its_own
def test_a_published_file_can_be_loaded_afterwards(source, target, capsys):
    network = resnet().network
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    content = {"state_dict": state, "optimizer": {"state": {"x": torch.ones(3)}}, "epoch": 7}
    path = source(content)
    assert main(["convert-weights", str(path), str(target)]) == 0
    shown = capsys.readouterr().out
    assert "key         state_dict" in shown
    assert "(float32, int64)" in shown
    assert "format      medicalnet" in shown
    assert f"written: {target}" in shown
    encoder = ResNetEncoder(10, embed_dim=6, width=1 / 16)
    assert load_weights(encoder, target).share == 1.0
    for name, tensor in encoder.network.state_dict().items():
        torch.testing.assert_close(tensor, network.state_dict()[name], rtol=0, atol=0)


def test_a_format_is_known_by_the_prefix_that_was_taken_off(source, target):
    network = resnet().network
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    conversion = convert_weights(source(state), target, prefix="module.")
    assert conversion.formats == ("medicalnet",)
    assert read_weights(target).metadata["prefix"] == "module."
    encoder = ResNetEncoder(10, embed_dim=6, width=1 / 16)
    assert load_weights(encoder, target).source.licence == "MIT"


def test_a_prefix_without_meaning_does_no_harm_to_the_format(source, target):
    state = {f"theirs.{name}": tensor for name, tensor in resnet().network.state_dict().items()}
    conversion = convert_weights(source(state), target, prefix="theirs.")
    assert conversion.formats == ("monai-resnet",)
    assert load_weights(ResNetEncoder(10, embed_dim=6, width=1 / 16), target).share == 1.0


def test_the_permissions_are_those_of_any_new_file(source, target):
    path = source({"a": torch.ones(2)})
    path.chmod(0o400)
    before = os.umask(0o027)
    convert_weights(path, target)
    os.umask(before)
    assert target.stat().st_mode & 0o777 == 0o640


def test_the_header_tells_the_source_without_its_path(source, target, tmp_path):
    path = source({"a": torch.ones(2)})
    convert_weights(path, target)
    with safe_open(target, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert metadata["converted_by"].startswith("selip-core ")
    assert str(tmp_path) not in str(metadata)
    assert path.name not in str(metadata)


def test_types_values_and_layout_are_kept(source, target):
    tensors = {
        "half": torch.randn(3).half(),
        "brain": torch.randn(3).bfloat16(),
        "double": torch.randn(3).double(),
        "count": torch.tensor(3),
        "transposed": torch.randn(2, 3).T,
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "empty": torch.zeros(0, 2),
    }
    convert_weights(source(tensors), target)
    loaded = read_weights(target).tensors
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(loaded[name], tensor.detach(), rtol=0, atol=0)


def test_tensors_that_share_memory_are_written_once_or_apart(source, target):
    whole = torch.arange(6.0)
    tensors = {"a": whole, "same": whole, "part": whole[:2], "other": whole[2:]}
    conversion = convert_weights(source(tensors), target)
    assert (conversion.tensors, conversion.shared, conversion.values) == (4, 1, 12)
    loaded = read_weights(target).tensors
    for name, tensor in tensors.items():
        torch.testing.assert_close(loaded[name], tensor)
    assert loaded["same"] is loaded["a"]


def test_old_files_and_wrapped_names_are_read(source, target):
    content = {"model": {"net.a": torch.ones(2), "net.b": torch.ones(1), "head.c": torch.ones(1)}}
    path = source(content, _use_new_zipfile_serialization=False)
    conversion = convert_weights(path, target, prefix="net.")
    assert conversion.key == "model"
    assert read_weights(target).tensors.keys() == {"a", "b"}


def test_numbers_of_numpy_and_of_python_do_no_harm(source, target):
    content = {
        "network_weights": {"a": torch.ones(2)},
        "logging": {"loss": [np.float64(0.5), np.float32(1)], "epoch": np.int64(3)},
        "init_args": {"plans": "nnsslPlans", "fold": (0, None, True)},
    }
    assert convert_weights(source(content), target).key == "network_weights"


def test_the_spacing_of_an_adaptation_plan_is_kept(source, target):
    plan = {"pretrain_plan": {"configurations": {"onemmiso": {"spacing": [1, 1.5, 2]}}}}
    content = {"network_weights": {"a": torch.ones(2)}, "nnssl_adaptation_plan": plan}
    convert_weights(source(content), target)
    assert json.loads(read_weights(target).metadata["spacing"]) == [1.0, 1.5, 2.0]


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_refused_and_never_run(source, target, tmp_path, capsys, monkeypatch, legacy):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    ran = tmp_path / "ran"
    path = source({"a": torch.ones(2), "b": Evil(ran)}, _use_new_zipfile_serialization=not legacy)
    message = refused(capsys, path, target)
    assert f"{path} needs code to be read, and was refused: posix.mkdir" in message
    assert "Do not trust such a file" in message
    assert "weights_only" not in message
    assert not ran.exists()
    assert not target.exists()
    torch.load(path, weights_only=False)  # the file does run code for those who trust it
    assert ran.exists()


@pytest.fixture
def library(monkeypatch):
    """Make classes of a library that need not be installed, as pickling sees them."""

    def make(name, **members):
        module, _, short = name.rpartition(".")
        for parent in itertools.accumulate(module.split("."), "{}.{}".format):
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        made = type(short, members.pop("bases", ()), {"__module__": module, **members})
        monkeypatch.setattr(sys.modules[module], short, made, raising=False)
        return made

    return make


@pytest.mark.parametrize("legacy", [False, True])
def test_settings_beside_the_tensors_are_skipped(source, target, library, legacy):
    config = library("omegaconf.dictconfig.DictConfig")()
    config._metadata = library("omegaconf.base.ContainerMetadata")()
    config._metadata.ref_type, config._metadata.key_type = dict, typing.Any
    config._metadata.flags = collections.defaultdict(list, {"a": [1]})
    attributes = library("lightning.fabric.utilities.data.AttributeDict", bases=(dict,))(a=1)
    flags = library("yacs.config.CfgNode", bases=(dict,))(a=1)
    flags.immutable = True
    content = {
        "state_dict": {"a": torch.ones(2)},
        "args": argparse.Namespace(out=pathlib.Path("/out"), lr=1e-3, nested=argparse.Namespace()),
        "paths": [pathlib.PureWindowsPath("C:/out"), pathlib.PurePosixPath("out")],
        "hyper_parameters": [config, attributes, flags],
        "logged": {"loss": np.arange(3.0), "names": np.array(["a"]), "when": datetime.now()},
        "version": torch.__version__,
    }
    path = source(content, _use_new_zipfile_serialization=not legacy)
    assert convert_weights(path, target).key == "state_dict"
    assert read_weights(target).tensors["a"].tolist() == [1, 1]


def test_weights_in_another_dictionary_are_found(source, target):
    state = collections.defaultdict(list, {"a": torch.ones(2)})
    assert convert_weights(source({"model": state}), target).tensors == 1


def test_what_stands_in_for_settings_keeps_nothing_of_them():
    made = unpickling.Unread(1, [2])
    made.__setstate__({"__setstate__": print, "__class__": dict})
    assert type(made) is unpickling.Unread
    assert not hasattr(made, "__dict__")
    assert {kind for kind, _ in unpickling.stand_ins()} == {
        unpickling.Unread,
        unpickling.Dictionary,
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_a_class_of_a_library_is_code(source, target, library, capsys, legacy):
    settings = library("their_project.settings.TrainingSettings")()
    path = source({"a": torch.ones(2), "b": settings}, _use_new_zipfile_serialization=not legacy)
    message = refused(capsys, path, target)
    assert "and was refused: their_project.settings.TrainingSettings. Only tensors" in message
    assert "any other class can run whatever its author wrote" in message
    assert "harmless" not in message
    assert "KEY being where its state dict is: torch.save(torch.load(FILE" in message
    assert "Do not trust" not in message


def test_a_whole_network_is_told(source, target, capsys):
    message = refused(capsys, source(torch.nn.Sequential(torch.nn.Linear(1, 1))), target)
    assert "is a whole pickled network, not its weights" in message
    assert "torch.nn.modules.container.Sequential, torch.nn.modules.linear.Linear" in message
    assert "weights_only=False).state_dict(), OUT)" in message


def test_one_warning_is_enough(source, target, tmp_path, capsys):
    network = torch.nn.Linear(1, 1)
    network.evil = Evil(tmp_path / "ran")
    message = refused(capsys, source(network), target)
    assert "Do not trust such a file" in message
    assert "posix.mkdir, torch.nn.modules.linear.Linear" in message


@pytest.mark.parametrize(
    ("name", "warns"),
    [
        ("os.system", True),
        ("builtins.eval", True),
        ("getattr", True),  # as PyTorch shortens builtins
        ("subprocess.Popen", True),
        ("functools.partial", True),
        ("operator.attrgetter", True),
        ("commands.Popen", True),  # as protocol 2 names subprocess
        ("__builtin__.eval", True),
        ("os.path.sys.exit", True),
        ("uuid._get_command_stdout", True),  # a function of a module of data
        ("pathlib.Path.write_text", True),
        ("collections.deque", False),
        ("decimal.Decimal", False),
        ("monai.networks.nets.ViT", False),
        ("__main__.Settings", False),
    ],
)
def test_what_only_hostile_files_need_is_a_warning(name, warns):
    assert unpickling.is_warning(name) == warns


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    return buffer.getvalue()


def text(value, kind=b"X"):
    return kind + struct.pack("<I" if kind == b"X" else "<B", len(value)) + value.encode()


def short(value):
    return text(value, b"\x8c")


TOUCH = text("touch CANARY")
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"
HUGE = b"\x8a\x08\0\0\0\0\0\0\0\x10"
HOSTILE = {
    "protocol 0": (b"cos\nsystem\n(Vtouch CANARY\ntR.", "os.system"),
    "protocol 1": (b"cposix\nsystem\nq\0(" + TOUCH + b"tR.", "posix.system"),
    "the name of Python 2": (b"\x80\2ccommands\nPopen\n(" + TOUCH + b"tR.", "subprocess.Popen"),
    "eval": (b"\x80\2c__builtin__\neval\n(" + text("open('CANARY','w')") + b"tR.", "eval"),
    "copy_reg": (b"\x80\2ccopy_reg\n_reconstructor\n(cos\nsystem\nNNtR.", "copyreg._recon"),
    "protocol 3": (b"\x80\3cposix\nsystem\n(" + TOUCH + b"tR.", "posix.system"),
    "protocol 4": (
        b"\x80\4" + short("posix") + short("system") + b"\x93(" + TOUCH + b"tR.",
        "posix.system",
    ),
    "protocol 4, memoised": (
        b"\x80\4%b\x94%b\x940h\1h\0\x93(%btR." % (short("system"), short("posix"), TOUCH),
        "posix.system",
    ),
    "protocol 5 in a frame": (
        b"\x80\5\x95\x30\0\0\0\0\0\0\0%b\x94%b\x94\x93(%btR."
        % (short("posix"), short("system"), TOUCH),
        "posix.system",
    ),
    "a dotted name": (
        b"\x80\4" + short("os") + short("path.os.system") + b"\x93(" + TOUCH + b"tR.",
        "os.path.os.system",
    ),
    "a name put together": (b"\x80\4)]\x93.", "a name that the file hides"),
    "INST": (b"(Vtouch CANARY\niposix\nsystem\n.", "posix.system"),
    "OBJ": (b"(cposix\nsystem\nVtouch CANARY\no.", "posix.system"),
    "an extension": (b"\x80\2\x82\1.", "copyreg.extension_1"),
    "a second unpickler": (
        b"\x80\2ctorch.storage\n_load_from_bytes\n(" + TOUCH + b"tR.",
        "torch.storage._load_from_bytes",
    ),
    "getattr": (
        b"\x80\2c__builtin__\ngetattr\n(ccollections\nOrderedDict\n%btR." % text("fromkeys"),
        "getattr",
    ),
    "partial": (b"\x80\2cfunctools\npartial\n(cposix\nsystem\ntR.", "functools.partial"),
    "operator": (b"\x80\2coperator\nattrgetter\n(" + text("a") + b"tR.", "operator.attrgetter"),
    "an array of functions": (
        pickle.dumps(np.array([os.system], dtype=object), protocol=2),
        "posix.system",
    ),
    "an unknown class": (b"\x80\2cproject.settings\nConfig\n)\x81.", "project.settings.Config"),
    "a class of torch": (b"\x80\2ctorch.hub\nload\n(" + TOUCH + b"tR.", "torch.hub.load"),
    "a state of settings": (
        b"\x80\2cargparse\nNamespace\n)\x81}%bcposix\nsystem\nsb." % text("__setstate__"),
        "posix.system",
    ),
    "a persistent id": (b"\x80\2" + TOUCH + b"Q.", "it is damaged, or holds what no state dict"),
    "a persistent id of protocol 0": (b"Ptouch CANARY\n.", "it is damaged, or holds what no"),
    "an absurd size": (
        b"\x80\2ctorch._utils\n_rebuild_tensor_v2\n(%bK\0(%bt(K\1t\x89ccollections\n"
        b"OrderedDict\n)RtR." % (STORAGE, HUGE),
        "it is damaged, or holds what no state dict",
    ),
    "an absurd offset": (
        b"\x80\2ctorch._utils\n_rebuild_tensor_v2\n(%b%b(K\1t(K\1t\x89ccollections\n"
        b"OrderedDict\n)RtR." % (STORAGE, HUGE),
        "it is damaged, or holds what no state dict",
    ),
    "a plain pickle of protocol 4": (
        pickle.dumps({"a": 1}, protocol=4),
        "it is pickled by protocol 4, and only protocol 2, the default of torch.save, is read",
    ),
}


def in_archive(content):
    """Return an archive as torch.save writes it, with one storage of a number."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {"data.pkl": content, "data/0": bytes(4), "version": b"3\n"}.items():
            archive.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def in_old_file(content):
    """Return a file as torch.save wrote it before there were archives."""
    system = {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}
    heads = [torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, system]
    return b"".join(pickle.dumps(head, protocol=2) for head in heads) + content + b"\x80\2]."


@pytest.mark.parametrize("form", [in_archive, in_old_file])
@pytest.mark.parametrize(("content", "cause"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_of_a_hostile_file_is_run(
    tmp_path, target, capsys, monkeypatch, form, content, cause
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(form(content))
    message = refused(capsys, path, target)
    assert "was refused: " in message
    assert cause in message
    assert "harmless" not in message
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no file of torch.save: it is empty"),
        (b"hello", "is no file of torch.save: it begins like none"),
        (b"\n <!DOCTYPE html><html>", "begins with '<': is it an HTML page that a download gave"),
        (b"version https://git-lfs.github.com/spec/v1", "it only points to one"),
        (b"PK\x03\x04 nothing", "breaks off"),
        (tar(), "is no file of torch.save: it is a tar archive; if the weights are in it, unpack"),
        (b"\x80\x04}.", "is no file of torch.save: it is a pickle of something else"),
        (b"\x08\0\0\0\0\0\0\0{}      ", "it looks like safetensors already"),
    ],
)
def test_no_file_of_pytorch_is_told(tmp_path, target, capsys, content, told):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    message = refused(capsys, path, target)
    assert str(path) in message
    assert told in message


def test_another_archive_is_told(tmp_path, target, capsys):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights inside")
    assert "it is another zip archive" in refused(capsys, path, target)


@pytest.mark.parametrize(("legacy", "told"), [(False, "breaks off"), (True, "is damaged")])
def test_a_truncated_file_is_told(source, target, capsys, legacy, told):
    path = source({"a": torch.zeros(1000)}, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:1000])
    message = refused(capsys, path, target)
    assert told in message
    assert "fetch it again" in message
    assert "weights_only" not in message


def test_a_program_is_no_weights(tmp_path, target, capsys):
    path = tmp_path / "program.pt"
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(path))
    assert "is a TorchScript program" in refused(capsys, path, target)


def test_several_dictionaries_are_named(source, target, capsys):
    content = {"model": {"a": torch.ones(2)}, "ema": {"net": {"a": torch.zeros(2)}}}
    message = refused(capsys, source(content), target)
    assert (
        "does not show which tensors are meant; give one of these as key: ['model', 'ema.net']"
        in message
    )
    assert convert_weights(source(content), target, key="ema.net").tensors == 1
    assert "no dictionary of tensors under 'e'" in refused(
        capsys, source(content), target, "--force", "--key", "e"
    )


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(2)], torch.ones(2)])
def test_a_file_without_named_tensors_is_told(source, target, capsys, content):
    assert "holds no tensors by name" in refused(capsys, source(content), target)


def test_a_prefix_that_no_name_has_is_told(source, target, capsys):
    message = refused(capsys, source({"net.a": torch.ones(2)}), target, "--prefix", "model.")
    assert "no name that begins with 'model.'; names begin with ['net']" in message


def test_sparse_tensors_are_told(source, target, capsys):
    message = refused(capsys, source({"a": torch.eye(3).to_sparse(), "b": torch.ones(1)}), target)
    assert "holds sparse tensors, which safetensors cannot hold: ['a']" in message


def test_sizes_are_limited_before_memory_is_taken(source, target, capsys):
    path = source({"a": torch.zeros(1).expand(2**28)})  # a GiB, of four bytes in the file
    message = refused(capsys, path, target, "--limit", "0.5")
    assert "unpacks to 1 GiB, and the limit is 0.5 GiB" in message
    message = refused(capsys, source({"a": torch.zeros(2**20)}), target, "--limit", "0.001")
    assert "unpacks to 0.003908 GiB, and the limit is 0.001 GiB" in message


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(source, target, capsys):
    path = source({"a": torch.ones(2)})
    target.write_text("mine")
    assert "is there already" in refused(capsys, path, target)
    assert target.read_text() == "mine"
    assert main(["convert-weights", str(path), str(target), "--force"]) == 0
    assert read_weights(target).tensors.keys() == {"a"}


@in_a_process_of_its_own
def test_a_failure_leaves_what_was_there_and_nothing_else(source, target, tmp_path, capsys):
    target.write_text("mine")
    path = source({"a": Evil(tmp_path / "ran")})
    refused(capsys, path, target, "--force")
    assert target.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights.pth", "weights.safetensors"]


def test_the_end_of_the_process_is_told(source, target, monkeypatch, capsys):
    def run(command, **_):
        return subprocess.CompletedProcess(command, -9, "", "loading\nKilled\n")

    monkeypatch.setattr(subprocess, "run", run)
    message = refused(capsys, source({"a": torch.ones(2)}), target)
    assert "ended with code -9 (Killed); is there memory enough?" in message


def test_the_new_file_is_of_safetensors_by_name(source, tmp_path, capsys):
    message = refused(capsys, source({"a": torch.ones(2)}), tmp_path / "weights.pth")
    assert "must end in .safetensors" in message


def test_the_folder_of_the_new_file_must_be_there(source, tmp_path, capsys):
    target = tmp_path / "missing" / "weights.safetensors"
    message = refused(capsys, source({"a": torch.ones(2)}), target)
    assert f"{target}: there is no folder {target.parent}; make it first" in message


def test_a_new_file_that_cannot_be_written_is_told(source, target, capsys, monkeypatch):
    def full(*_):
        raise SafetensorError('I/O error: No space left on device at path "/tmp/x"')

    monkeypatch.setattr(unpickling, "save_file", full)
    message = refused(capsys, source({"a": torch.ones(2)}), target)
    assert message.endswith("could not be written: I/O error: No space left on device\n")


def test_a_missing_file_is_told(tmp_path, target, capsys):
    assert "is the path right?" in refused(capsys, tmp_path / "nowhere.pth", target)
