"""What vision transformers differ in: class tokens, their positions, and how patches are cut."""

from torch import Tensor

from selip_core.encoders.weights.layout import Fitted, Tensors
from selip_core.encoders.weights.positions import cube

CLASS_TOKEN = "class_token.0"
POSITIONS = "network.patch_embedding.position_embeddings"
PATCHES = "network.patch_embedding.patch_embeddings.weight"

TOKEN_RENAMES = (
    (r"^network\.cls_token$", CLASS_TOKEN),
    # MONAI's "perceptron": a linear layer after the patches were laid out as vectors
    (r"\bpatch_embeddings\.1\.", "patch_embeddings."),
)


def fit_tokens(tensors: Tensors, encoder: Tensors) -> Fitted:
    """Make class token and patches those of our vision transformers.

    A class token is a vector. A position of its own, which some have and ours does not, is a
    constant added to it. A linear layer over the voxels of a patch is a convolution whose stride
    is the patch.

    Args:
        tensors: The file's tensors.
        encoder: The encoder's tensors, under the same names.
    """
    tensors, notes = dict(tensors), {}
    if CLASS_TOKEN in tensors:
        tensors[CLASS_TOKEN] = tensors[CLASS_TOKEN].flatten()
        if POSITIONS in tensors and _has_class_position(tensors[POSITIONS], encoder):
            own, tensors[POSITIONS] = tensors[POSITIONS][:, 0], tensors[POSITIONS][:, 1:]
            tensors[CLASS_TOKEN] = tensors[CLASS_TOKEN] + own.flatten()
            notes[CLASS_TOKEN] = "its position was added to it"
    if PATCHES in tensors and PATCHES in encoder and tensors[PATCHES].ndim == 2:
        patch = encoder[PATCHES].shape[2:]
        if tensors[PATCHES].shape[1] % patch.numel() == 0:
            # MONAI lays voxels out as (depth, height, width, channel).
            voxels = tensors[PATCHES].reshape(
                -1, *patch, tensors[PATCHES].shape[1] // patch.numel()
            )
            tensors[PATCHES] = voxels.movedim(-1, 1)
            notes[PATCHES] = "a linear layer over patches, written as a convolution"
    return Fitted(tensors, notes=notes)


def _has_class_position(table: Tensor, encoder: Tensors) -> bool:
    patches = table.shape[1] - 1
    wanted = encoder[POSITIONS].shape[1] if POSITIONS in encoder else None
    return wanted == patches or (wanted != patches + 1 and cube(patches) is not None)
