"""Vision transformers of MONAI: ViT, ViTAutoEnc, and the encoder of UNETR.

Facts:
    Names as in ``monai.networks.nets.ViT``, under ``vit.`` in a UNETR and in SegVol's releases
    under ``model.encoder.``. Old versions of MONAI kept cross-attention that no forward pass used
    (``cross_attn``, ``norm_cross_attn``) and such a class token (``patch_embedding.cls_token``).
    The file tells neither licence nor preparation.
"""

from selip_core.encoders.weights.layout import WeightFormat
from selip_core.encoders.weights.tokens import TOKEN_RENAMES, fit_tokens
from selip_core.pretrained.source import WeightsSource

MONAI_VIT = WeightFormat(
    name="monai-vit",
    encoders="`vit_base`, `vit_small`, with the layers and patches of the file",
    source=WeightsSource("monai-vit", "not told by the file", ""),
    recognised_by=(
        r"((module|model|encoder|vit)\.)*patch_embedding\.patch_embeddings\.",
        r"((module|model|encoder|vit)\.)*blocks\.0\.attn\.qkv\.weight$",
    ),
    foreign=(r"(.*\.)?(decoder_blocks|decoder_embed|mask_tokens)\b",),
    prefixes=(r"(?:model|encoder|vit)\.",),
    ignored=(
        r"(encoder|decoder)\d+\.",
        r"(out|classification_head|conv3d_transpose(_1)?)\.",
        r"blocks\.\d+\.(cross_attn|norm_cross_attn)\.",
        r"patch_embedding\.cls_token$",
    ),
    renames=TOKEN_RENAMES,
    trained_with={"heads": None},
    fit=fit_tokens,
)
