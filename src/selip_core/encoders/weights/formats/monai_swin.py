"""Swin transformers of MONAI's SwinUNETR, self-supervised or fine-tuned.

Facts:
    Published as ``model_swinvit.pt`` with the code at
    https://github.com/Project-MONAI/research-contributions/tree/main/SwinUNETR, Apache-2.0 (Tang
    et al., arXiv 2111.14791). Its ``state_dict`` has the transformer under ``module.``, files of
    its training script under ``swin_vit.``, and those of SwinUNETR under ``swinViT.``. The layers
    that are ``mlp.linear1`` and ``mlp.linear2`` today were ``mlp.fc1`` and ``mlp.fc2``.
    Feature size 48, depths (2, 2, 2, 2), heads (3, 6, 12, 24), windows of 7, patches of 2 voxels.
    Trained on about 5,050 CT volumes, no MRI: axes to the right, anterior and superior, crops of
    96x96x96, -1000..1000 HU scaled to 0..1. The training script has options for a spacing of
    1.5 x 1.5 x 2 mm, but its loader does not resample.
"""

from selip_core.encoders.weights.layout import WeightFormat
from selip_core.pretrained.source import WeightsSource

MONAI_SWIN = WeightFormat(
    name="monai-swin",
    encoders="`swin_base`; other feature sizes by the other `swin_*`",
    source=WeightsSource(
        "monai-swin",
        "Apache-2.0",
        "https://github.com/Project-MONAI/research-contributions/tree/main/SwinUNETR",
    ),
    recognised_by=(
        r"(.*\.)?patch_embed\.proj\.weight$",
        r"(.*\.)?layers1\.0\.blocks\.0\.attn\.relative_position_bias_table$",
    ),
    foreign=(r"(.*\.)?network\.",),
    prefixes=(r"(?:model|backbone|swin_vit|swinViT)\.",),
    ignored=(
        r"(encoder|decoder)\d+\.",
        r"(out|conv|rotation_(head|pre)|contrastive_(head|pre))\.",
    ),
    renames=((r"\bmlp\.fc([12])\.", r"mlp.linear\1."),),
    intensity="CT, -1000 to 1000 HU scaled to 0 to 1",
    orientation="RAS",
)
