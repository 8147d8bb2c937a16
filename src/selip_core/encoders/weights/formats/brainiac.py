"""BrainIAC: a ResNet-50 and a ViT-B trained by SimCLR on brain MRI.

Facts:
    Published at https://github.com/AIM-KannLab/BrainIAC (Tak et al., Nature Neuroscience 2026;
    medRxiv 2024.12.02.24317992). The first release, a ResNet-50, is CC-BY-NC-4.0; the second, a
    ViT-B, is licensed for non-commercial academic research only. Both are Lightning checkpoints
    whose ``state_dict`` has the network under ``backbone.``, and under ``backbone.backbone.`` in
    files of downstream models, which add ``classifier.``. The ResNet-50 is MONAI's with a
    convolution 7x7x7 of stride 2 and with biases in the convolutions of its shortcuts. The ViT-B
    is MONAI's with patches of 16 voxels, a learned position for each of 6x6x6 patches, no class
    token (their embedding is the first patch) and no bias of queries, keys and values.
    Volumes are registered to an atlas of 1 mm, without bias field and skull, resized to 128x128x128
    (ResNet-50) or 96x96x96 (ViT-B) as the arrays lie in the file: first axis to the right, then
    anterior, then superior. For the ResNet-50 they are scaled to 0..1; users of the ViT-B scale to
    zero mean and unit variance over the brain.
"""

from selip_core.encoders.weights.layout import WeightFormat
from selip_core.encoders.weights.shortcuts import fit_shortcuts
from selip_core.pretrained.source import WeightsSource

_BACKBONE = r"(?:(?:module|model|backbone)\.)*backbone\."

BRAINIAC = WeightFormat(
    name="brainiac",
    encoders='`resnet50` with `stem="medicalnet_strided"`; `vit_base`',
    source=WeightsSource(
        "brainiac",
        "CC-BY-NC-4.0 (ResNet-50); non-commercial academic research only (ViT-B)",
        "https://github.com/AIM-KannLab/BrainIAC",
    ),
    recognised_by=(
        _BACKBONE + r"(conv1\.weight|patch_embedding\.patch_embeddings\.weight)$",
        _BACKBONE + r"(layer4\.0\.conv1\.weight|blocks\.0\.attn\.qkv\.weight)$",
    ),
    prefixes=(r"model\.", r"backbone\."),
    ignored=(
        r"(classifier|fc|head|projection_head|projector)\.",
        r"blocks\.\d+\.(cross_attn|norm_cross_attn)\.",
    ),
    intensity="brain only; 0 to 1 (ResNet-50), zero mean and unit variance over the brain (ViT-B)",
    orientation="RAS",
    trained_with={"stem": "medicalnet_strided", "heads": 12},
    fit=fit_shortcuts,
)
