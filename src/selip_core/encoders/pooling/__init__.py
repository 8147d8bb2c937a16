"""From the coarsest feature map to one embedding."""

from selip_core.encoders.pooling.attention import AttentionPooling
from selip_core.encoders.pooling.average import AveragePooling
from selip_core.encoders.pooling.by_name import (
    POOLINGS,
    PoolingChoice,
    PoolingFactory,
    create_pooling,
)
from selip_core.encoders.pooling.class_token import ClassTokenPooling
from selip_core.encoders.pooling.gem import GeMPooling
from selip_core.encoders.pooling.grid import GridPooling

__all__ = [
    "POOLINGS",
    "AttentionPooling",
    "AveragePooling",
    "ClassTokenPooling",
    "GeMPooling",
    "GridPooling",
    "PoolingChoice",
    "PoolingFactory",
    "create_pooling",
]
