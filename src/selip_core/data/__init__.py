"""Volumes and reports on disk: manifest, preprocessing, data set, sampler, checker."""

from selip_core.data.files import atomic_path
from selip_core.data.manifest import KNOWN_SEQUENCES, Manifest, ManifestRow
from selip_core.data.manifest_jsonl import read_manifest, write_manifest

__all__ = [
    "KNOWN_SEQUENCES",
    "Manifest",
    "ManifestRow",
    "atomic_path",
    "read_manifest",
    "write_manifest",
]
