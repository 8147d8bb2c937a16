"""The means of the cells of a small grid."""

from typing import final

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from selip_core.encoders.options import along_axes
from selip_core.encoders.spec import Size


@final
class GridPooling(nn.Module):
    """Average over each cell of a small grid, then a linear layer over all cells: keeps position.

    Reports say where a lesion is. Volumes of any size are divided into the same cells, so a cell
    stands for the same part of the head wherever volumes are placed alike.

    Args:
        channels: Channels of the feature map.
        embed_dim: Length of the embedding.
        grid: Cells along (depth, height, width), or one number for all. The linear layer has
            ``channels * product(grid) * embed_dim`` weights.

    Raises:
        ValueError: If the grid has no cell.

    Example:
        >>> import torch
        >>> GridPooling(channels=8, embed_dim=4)(torch.zeros(2, 8, 3, 5, 5)).shape
        torch.Size([2, 4])

        More cells in the plane than across few thick slices:

        >>> from selip_core import create_image_encoder
        >>> encoder = create_image_encoder(
        ...     "resnet10", pooling=("grid", {"grid": (2, 4, 4)}), width=0.25
        ... )
    """

    def __init__(self, channels: int, embed_dim: int, grid: int | Size = 3) -> None:
        super().__init__()
        grid = along_axes("grid", grid)
        self.cells = nn.AdaptiveAvgPool3d(grid)
        self.projection = nn.Linear(channels * grid[0] * grid[1] * grid[2], embed_dim)

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a map."""
        cells = rearrange(self.cells(x), "b c d h w -> b (c d h w)")
        return self.projection(cells)  # type: ignore[no-any-return]
