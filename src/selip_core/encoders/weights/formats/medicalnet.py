"""MedicalNet: 3D ResNets trained to segment 23 data sets of CT and MRI.

Facts:
    Published at https://github.com/Tencent/MedicalNet and
    https://huggingface.co/TencentMedicalNet, MIT (Chen, Ma and Zheng, arXiv 1904.00625); depths 10
    to 200, as ``{"state_dict": ...}`` of a DataParallel model, so names begin with ``module.``.
    The head ``conv_seg`` is in files that their training script wrote. The stem is a convolution
    7x7x7 with stride 2 and a max pooling 3x3x3 with stride 2; stages 3 and 4 are dilated instead
    of strided, which changes no shape. Depths 18 and 34 have shortcuts without parameters, the
    others convolutions without bias. Volumes are one channel in (depth, height, width) order,
    resized to a fixed size, and scaled to zero mean and unit variance over the voxels above 0; the
    background is filled with normal noise.
"""

from selip_core.encoders.weights.layout import WeightFormat
from selip_core.encoders.weights.shortcuts import fit_shortcuts
from selip_core.pretrained.source import WeightsSource

MEDICALNET = WeightFormat(
    name="medicalnet",
    encoders='`resnet10` to `resnet200`, with `stem="medicalnet"`',
    source=WeightsSource("medicalnet", "MIT", "https://github.com/Tencent/MedicalNet"),
    recognised_by=(
        r"module\.conv1\.weight$",
        r"module\.layer\d\.0\.conv1\.weight$",
    ),
    ignored=(r"conv_seg\.", r"fc\."),
    intensity="zero mean and unit variance over the voxels above 0",
    trained_with={"stem": "medicalnet"},
    fit=fit_shortcuts,
)
