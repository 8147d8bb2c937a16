"""The tokens of patches before a transformer reads them: their positions, and hiding some."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from selip_core.encoders.spec import Size


def resize_positions(
    positions: Float[Tensor, "1 patches channels"],
    grid: Size,
    new_grid: Size,
    align_corners: bool = False,
) -> Float[Tensor, "1 new_patches channels"]:
    """Return the position embeddings of another grid of patches over the same field of view.

    Trilinear interpolation; the embeddings themselves where the grids are equal.

    Args:
        positions: Embeddings of the patches of ``grid``, counted along width first, depth last.
        grid: Patches along (depth, height, width).
        new_grid: Patches that are asked for.
        align_corners: Whether the outermost patches keep their place, rather than the outer edges
            of the field of view.

    Example:
        >>> positions = torch.tensor([[[0.0], [4.0]]])
        >>> resize_positions(positions, (1, 1, 2), (1, 1, 4)).flatten()
        tensor([0., 1., 3., 4.])
    """
    if new_grid == grid:
        return positions
    depth, height, width = grid
    field = rearrange(positions, "1 (d h w) c -> 1 c d h w", d=depth, h=height, w=width)
    resized = nn.functional.interpolate(
        field, size=new_grid, mode="trilinear", align_corners=align_corners
    )
    return rearrange(resized, "1 c d h w -> 1 (d h w) c")


def replace_hidden(
    tokens: Float[Tensor, "b patches channels"],
    mask: Bool[Tensor, "b patches"],
    mask_token: Float[Tensor, "channels"],
) -> Float[Tensor, "b patches channels"]:
    """Return the tokens with the mask token where ``mask`` is True.

    Raises:
        ValueError: If the mask is not boolean and of the tokens' shape.

    Example:
        >>> tokens, mask = torch.zeros(1, 3, 1), torch.tensor([[True, False, True]])
        >>> replace_hidden(tokens, mask, torch.ones(1)).flatten()
        tensor([1., 0., 1.])
    """
    _check_mask(mask, tokens)
    return torch.where(mask.unsqueeze(-1), mask_token.to(tokens.dtype), tokens)


def drop_hidden(
    tokens: Float[Tensor, "b patches channels"], mask: Bool[Tensor, "b patches"]
) -> Float[Tensor, "b kept channels"]:
    """Return the tokens where ``mask`` is False, in their order.

    Raises:
        ValueError: If the mask is not boolean and of the tokens' shape, or if its rows keep no
            token or not equally many.

    Example:
        >>> tokens, mask = torch.arange(3.0).reshape(1, 3, 1), torch.tensor([[False, True, False]])
        >>> drop_hidden(tokens, mask).flatten()
        tensor([0., 2.])
    """
    _check_mask(mask, tokens)
    kept = sorted(set((~mask).sum(dim=1).tolist()))
    if len(kept) > 1 or 0 in kept:
        raise ValueError(
            "every row of mask must keep (False) equally many patches, at least one; "
            f"rows keep {kept}"
        )
    return tokens[~mask].reshape(len(tokens), -1, tokens.shape[-1])


def _check_mask(mask: Tensor, tokens: Tensor) -> None:
    if mask.shape != tokens.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"mask must be boolean of shape (batch, patches) = {tuple(tokens.shape[:2])}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
