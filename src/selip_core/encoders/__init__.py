"""Image encoders: volumes to embeddings, by name, behind one small interface."""

import selip_core.encoders.saving  # registers how they are saved
import selip_core.encoders.study_saving  # noqa: F401
from selip_core.encoders.creation import create_image_encoder
from selip_core.encoders.densenet import DenseNetEncoder
from selip_core.encoders.efficientnet import EfficientNetEncoder
from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.mednext import MedNeXtEncoder
from selip_core.encoders.parameter_groups import parameter_groups
from selip_core.encoders.pooling import (
    AttentionPooling,
    AveragePooling,
    ClassTokenPooling,
    GeMPooling,
    GridPooling,
)
from selip_core.encoders.registry import list_image_encoders, register_image_encoder
from selip_core.encoders.resenc import ResEncUNetEncoder
from selip_core.encoders.resnet import ResNetEncoder
from selip_core.encoders.segresnet import SegResNetEncoder
from selip_core.encoders.seresnet import SEResNetEncoder
from selip_core.encoders.settings import ImageEncoderSettings
from selip_core.encoders.slicewise import SliceEncoder
from selip_core.encoders.spec import ImageEncoderSpec
from selip_core.encoders.study import StudyEmbedding, StudyEncoder
from selip_core.encoders.study_batch import StudyBatch, collate_studies
from selip_core.encoders.swin import SwinEncoder
from selip_core.encoders.vit import ViTEncoder
from selip_core.pretrained.source import WeightsSource

__all__ = [
    "AttentionPooling",
    "AveragePooling",
    "ClassTokenPooling",
    "DenseNetEncoder",
    "EfficientNetEncoder",
    "GeMPooling",
    "GridPooling",
    "ImageEncoder",
    "ImageEncoderSettings",
    "ImageEncoderSpec",
    "MedNeXtEncoder",
    "ResEncUNetEncoder",
    "ResNetEncoder",
    "SEResNetEncoder",
    "SegResNetEncoder",
    "SliceEncoder",
    "StudyBatch",
    "StudyEmbedding",
    "StudyEncoder",
    "SwinEncoder",
    "ViTEncoder",
    "WeightsSource",
    "collate_studies",
    "create_image_encoder",
    "list_image_encoders",
    "parameter_groups",
    "register_image_encoder",
]
