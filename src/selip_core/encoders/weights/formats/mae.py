"""Masked autoencoders: their encoder, without the decoder.

Facts:
    Two layouts are read. MONAI's ``MaskedAutoEncoderViT`` has the last norm as a further block,
    and the decoder as ``decoder_blocks``, ``decoder_embed``, ``decoder_pred`` and ``mask_tokens``.
    That of He et al. (arXiv 2111.06377), which 3D variants keep, has timm's names
    (``patch_embed.proj``, ``pos_embed``, ``attn.proj``, ``mlp.fc1``); queries, keys and values lie
    alike in both. There the class token has a position of its own, the first: it is added to the
    token.
    The file tells neither licence nor preparation.
"""

from selip_core.encoders.weights.layout import WeightFormat
from selip_core.encoders.weights.tokens import TOKEN_RENAMES, fit_tokens
from selip_core.pretrained.source import WeightsSource

MAE = WeightFormat(
    name="mae",
    encoders="`vit_base`, `vit_small`, with the layers and patches of the file",
    source=WeightsSource("mae", "not told by the file", ""),
    recognised_by=(
        r"(.*\.)?(patch_embedding\.patch_embeddings|patch_embed\.proj)\.",
        r"(.*\.)?blocks\.0\.attn\.qkv\.weight$",
        r"(.*\.)?decoder_(blocks|embed)\.",
    ),
    prefixes=(r"(?:model|encoder)\.",),
    ignored=(
        r"decoder_(blocks|embed|norm|pos_embed|pos_embedding|pred)\b",
        r"mask_tokens?$",
        r"blocks\.\d+\.(cross_attn|norm_cross_attn)\.",
    ),
    renames=(
        (r"\bblocks\.\d+\.(weight|bias)$", r"norm.\1"),
        (r"\bpos_embed$", "patch_embedding.position_embeddings"),
        (r"\bpatch_embed\.proj\.", "patch_embedding.patch_embeddings."),
        *TOKEN_RENAMES,
        (r"\battn\.proj\.", "attn.out_proj."),
        (r"\bmlp\.fc([12])\.", r"mlp.linear\1."),
    ),
    trained_with={"heads": None},
    fit=fit_tokens,
)
