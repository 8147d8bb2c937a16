"""Volumes and reports on disk: manifest, preprocessing, data set, sampler, checker."""

from selip_core.data.cache import VolumeCache
from selip_core.data.check import check_manifest
from selip_core.data.check_result import CheckResult, Issue
from selip_core.data.dataset import VolumeDataset, VolumeItem
from selip_core.data.laterality import LateralityFlip, flip_image, flip_laterality, flipped_id
from selip_core.data.manifest import KNOWN_SEQUENCES, Manifest, ManifestRow
from selip_core.data.manifest_jsonl import read_manifest, write_manifest
from selip_core.data.nifti_geometry import Geometry
from selip_core.data.preprocessing import Preprocessing
from selip_core.data.sampler import LimitedBatchSampler
from selip_core.data.volumes import read_volume

__all__ = [
    "KNOWN_SEQUENCES",
    "CheckResult",
    "Geometry",
    "Issue",
    "LateralityFlip",
    "LimitedBatchSampler",
    "Manifest",
    "ManifestRow",
    "Preprocessing",
    "VolumeCache",
    "VolumeDataset",
    "VolumeItem",
    "check_manifest",
    "flip_image",
    "flip_laterality",
    "flipped_id",
    "read_manifest",
    "read_volume",
    "write_manifest",
]
