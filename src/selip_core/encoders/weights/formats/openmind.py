"""OpenMind and other residual encoders of nnssl and nnU-Net.

Facts:
    Code at https://github.com/MIC-DKFZ/nnssl, CC-BY-SA-4.0 (Wald et al., arXiv 2412.17041);
    weights at https://huggingface.co/AnonRes such as ResEncL-OpenMind-MAE: look up the licence of
    each there.
    A checkpoint holds ``network_weights``, with the encoder's stem and stages of
    dynamic-network-architectures under ``encoder.``, and ``nnssl_adaptation_plan``, which names
    where encoder and stem are and the spacing. The same tensors stand there a second time under
    ``all_modules``, and nnU-Net's decoder has the whole encoder again. ResEnc-L has 6 stages of
    (32, 64, 128, 256, 320, 320) channels and (1, 3, 4, 6, 6, 6) blocks. The configuration of the
    published weights resamples to 1 mm and scales each volume to zero mean and unit variance; axes
    are depth, height, width as nnU-Net reads them, trained with mirroring.
    nnU-Net's own checkpoints of residual encoders have the same names and tell no spacing.
"""

from selip_core.encoders.weights.layout import WeightFormat
from selip_core.pretrained.source import WeightsSource

OPENMIND = WeightFormat(
    name="openmind",
    encoders="`resenc_unet`; other depths by its options",
    source=WeightsSource(
        "openmind",
        "as told with each file",
        "https://huggingface.co/collections/MIC-DKFZ/openmind-models-6819c21c7fe6f0aaaab7dadf",
    ),
    recognised_by=(
        r"(.*\.)?stem\.convs\.0\.(conv|all_modules\.0)\.weight$",
        r"(.*\.)?stages\.0\.blocks\.0\.conv1\.(conv|all_modules\.0)\.weight$",
    ),
    foreign=(r"(.*\.)?network\.(stem|stages)\.",),
    prefixes=(r"(?:architecture|backbone|encoder|online_encoder)\.",),
    ignored=(
        r"(.*\.)?decoder\.",
        r"(densify_norms|densify_projs|mask_tokens?|projector|projection|predictor|seg_layers)\b",
        r"(target|teacher|momentum)\w*\.",
    ),
    intensity="zero mean and unit variance over the volume",
)
