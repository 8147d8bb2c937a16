"""The vision transformer for volumes of any size, on MONAI's blocks."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, final

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.options import along_axes, at_width, require_counts, require_rates
from selip_core.encoders.patches import drop_hidden, replace_hidden, resize_positions
from selip_core.encoders.pooling import ClassTokenPooling, PoolingChoice, create_pooling
from selip_core.encoders.registry import register_image_encoder
from selip_core.encoders.sequence import run_in_order
from selip_core.encoders.spec import ImageEncoderSpec, Size

if TYPE_CHECKING:
    from monai.networks.nets.vit import ViT

DEPTHS = 4
"""Maps in the pyramid, after each quarter of the layers."""


@final
class ViTEncoder(ImageEncoder):
    """A vision transformer: its tokens after each quarter of the layers, as maps of one stride.

    All maps have the stride of a patch: they are what a UNETR decoder reads. The last one has
    passed the final normalisation. Freezing, rates and gradient checkpointing go layer by layer.

    A position embedding is learned for every patch of volumes of ``native_size``; for volumes of
    another size these are interpolated, trilinearly.

    Args:
        channels: Length of a token at width 1: 384 (small) or 768 (base).
        heads: Heads of the attention; by name, 6 (small) or 12 (base) if none are given. No tensor
            shows them: with weights from elsewhere, give the heads that these were trained with.
        in_channels: Channels of the input volume.
        embed_dim: Length of an embedding.
        pooling: As in :func:`~selip_core.encoders.create_image_encoder`. Whatever makes a
            :class:`ClassTokenPooling`, such as ``"cls"``, adds a class token.
        patch_size: Voxels of a patch along (depth, height, width), or one number for all. For few
            thick slices, a patch of (4, 16, 16) spans about as many millimetres along each axis.
        native_size: Size of the volumes that have a position embedding for each patch, along each
            axis or for all: best that of most volumes.
        layers: Transformer blocks, at least 4.
        class_token: Whether a class token stands before the patches; by default where the pooling
            needs it.
        qkv_bias: Whether queries, keys and values have a bias; those of MONAI's published weights
            have none.
        dropout: Share of values that are dropped in training, after patches get their positions,
            and after attention and linear layers.
        width: Factor on the length of a token.

    Raises:
        ValueError: If an option is out of its range, ``native_size`` is not a multiple of the
            patch, the layers are under 4, the pooling needs the class token that is not to be, or
            the width leaves tokens that cannot be split among the heads.

    Example:
        >>> import torch
        >>> encoder = ViTEncoder(384, 6, patch_size=(4, 16, 16), layers=4, width=1 / 8)
        >>> encoder(torch.zeros(2, 1, 8, 48, 32)).shape
        torch.Size([2, 512])
        >>> [tuple(x.shape) for x in encoder.forward_features(torch.zeros(2, 1, 8, 48, 32))][-1]
        (2, 48, 2, 3, 2)

    Source:
        Dosovitskiy et al. 2021 (arXiv 2010.11929). Keys below ``network`` are those of MONAI's
        ``ViT``, without the layers of its cross attention, which nothing runs; its ``cls_token`` is
        ``class_token.0``.
    """

    network: "ViT"

    def __init__(
        self,
        channels: int,
        heads: int,
        in_channels: int = 1,
        embed_dim: int = 512,
        pooling: PoolingChoice = "avg",
        patch_size: int | Size = 16,
        native_size: int | Size = 96,
        layers: int = 12,
        class_token: bool | None = None,
        qkv_bias: bool = False,
        dropout: float = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        require_counts(in_channels=in_channels, embed_dim=embed_dim, heads=heads)
        require_rates(dropout=dropout)
        channels = at_width(channels, width)
        patch_size = along_axes("patch_size", patch_size)
        native_size = along_axes("native_size", native_size)
        _check_options(channels, heads, patch_size, native_size, layers)
        self.embed_dim = embed_dim
        self.heads = heads
        self.native_grid = _grid(native_size, patch_size)
        self.network = _build_network(
            channels, heads, in_channels, patch_size, native_size, layers, qkv_bias, dropout
        )
        made = create_pooling(pooling, channels, embed_dim, class_token=True)
        needs_class_token = isinstance(made, ClassTokenPooling)
        if needs_class_token and class_token is False:
            raise ValueError(f"pooling {pooling!r} needs the class token: leave class_token out")
        # A list, so that a stage can hold it: a bare parameter is no module.
        self.class_token = nn.ParameterList(
            [torch.zeros(channels)] * bool(class_token or needs_class_token)
        )
        self.pooling = made
        spec = ImageEncoderSpec(
            in_channels=in_channels,
            stage_channels=(channels,) * DEPTHS,
            stage_strides=(patch_size,) * DEPTHS,
            minimum_size=patch_size,
            divisor=patch_size,
        )
        self.spec = spec.count_parameters(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the embedding of the patches and every layer."""
        *earlier, last = self.network.blocks
        return [
            [self.network.patch_embedding, self.class_token],
            *([block] for block in earlier),
            [last, self.network.norm],
        ]

    def forward(self, x: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b embed_dim"]:
        """Return one embedding a volume, not normalised.

        Raises:
            ValueError: If the shape of ``x`` is not one that ``spec`` allows.
        """
        if isinstance(self.pooling, ClassTokenPooling):
            return self.pooling(self.forward_tokens(x)[:, 0])  # type: ignore[no-any-return]
        return super().forward(x)

    def forward_features(
        self, x: Float[Tensor, "b c d h w"]
    ) -> list[Float[Tensor, "b stage_c stage_d stage_h stage_w"]]:
        """Return the tokens after each quarter of the layers, laid out as maps."""
        tokens = self._embed(x)
        depth, height, _ = self._grid_of(x)
        first = len(self.class_token)
        return [
            rearrange(output[:, first:], "b (d h w) c -> b c d h w", d=depth, h=height)
            for output in self._run(tokens)
        ]

    def forward_tokens(
        self,
        x: Float[Tensor, "b c d h w"],
        mask: Bool[Tensor, "b patches"] | None = None,
        mask_token: Float[Tensor, "channels"] | None = None,
    ) -> Float[Tensor, "b tokens channels"]:
        """Return the tokens after the last layer: the class token, if any, and those of patches.

        This is what masked pretraining needs. Patches count along width first, depth last. The mask
        token is learned by whom it serves, so that an encoder without masks has no idle parameter.

        Args:
            x: Volumes.
            mask: True where a patch is hidden. Without a mask token, hidden patches are left out
                and not computed (masked autoencoders): every volume must keep equally many.
            mask_token: Stands for hidden patches (SimMIM), which keep their positions.

        Raises:
            ValueError: If the shape of ``x`` or of the mask is wrong, if rows of the mask keep no
                patch or not equally many, or if there is a mask token without a mask.

        Example:
            >>> encoder = ViTEncoder(384, 6, patch_size=(4, 16, 16), layers=4, width=1 / 8)
            >>> x, mask = torch.zeros(2, 1, 8, 32, 32), torch.arange(8).expand(2, 8) < 6
            >>> encoder.forward_tokens(x, mask).shape
            torch.Size([2, 2, 48])
            >>> encoder.forward_tokens(x, mask, mask_token=torch.zeros(48)).shape
            torch.Size([2, 8, 48])

        Source:
            He et al. 2022 (arXiv 2111.06377) and Xie et al. 2022 (arXiv 2111.09886).
        """
        return self._run(self._embed(x, mask, mask_token))[-1]

    def _run(self, tokens: Tensor) -> list[Tensor]:
        """Return the tokens after each quarter of the layers."""
        _, *layers = self.stages()
        ends = {len(layers) * quarter // DEPTHS for quarter in range(1, DEPTHS + 1)}
        outputs = []
        for number, layer in enumerate(layers, start=1):
            tokens = self.run_stage(partial(run_in_order, layer), tokens)
            if number in ends:
                outputs.append(tokens)
        return outputs

    def _embed(
        self, x: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> Tensor:
        self.check_input(x)
        if mask is None and mask_token is not None:
            raise ValueError("mask_token needs a mask that says which patches it stands for")
        embedding = self.network.patch_embedding
        tokens = rearrange(embedding.patch_embeddings(x), "b c d h w -> b (d h w) c")
        if mask is not None and mask_token is not None:
            tokens = replace_hidden(tokens, mask, mask_token)
        positions = embedding.position_embeddings
        tokens = tokens + resize_positions(positions, self.native_grid, self._grid_of(x))
        tokens = embedding.dropout(tokens)
        if mask is not None and mask_token is None:
            tokens = drop_hidden(tokens, mask)
        class_token = [token.expand(len(tokens), 1, -1) for token in self.class_token]
        return torch.cat((*class_token, tokens), dim=1)

    def _grid_of(self, x: Tensor) -> Size:
        return _grid(x.shape[2:], self.spec.divisor)


def _grid(size: Sequence[int], patch_size: Size) -> Size:
    return (size[0] // patch_size[0], size[1] // patch_size[1], size[2] // patch_size[2])


def _check_options(
    channels: int, heads: int, patch_size: Size, native_size: Size, layers: int
) -> None:
    if channels % heads:
        raise ValueError(
            f"width must leave tokens that {heads} heads can share, got {channels} channels; "
            "or give other heads"
        )
    if layers < DEPTHS:
        raise ValueError(f"layers must be at least {DEPTHS}, got {layers}")
    if any(size < 1 or size % patch for size, patch in zip(native_size, patch_size, strict=True)):
        raise ValueError(
            f"native_size must be a multiple of patch_size {patch_size} along each axis, "
            f"got {native_size}"
        )


def _build_network(
    channels: int,
    heads: int,
    in_channels: int,
    patch_size: Size,
    native_size: Size,
    layers: int,
    qkv_bias: bool,
    dropout: float,
) -> "ViT":
    from monai.networks.nets.vit import ViT

    network = ViT(
        in_channels=in_channels,
        img_size=native_size,
        patch_size=patch_size,
        hidden_size=channels,
        mlp_dim=4 * channels,
        num_layers=layers,
        num_heads=heads,
        qkv_bias=qkv_bias,
        dropout_rate=dropout,
    )
    for block in network.blocks:
        # Never run without cross attention, so no gradient would reach them.
        block.cross_attn = nn.Identity()
        block.norm_cross_attn = nn.Identity()
        # The same attention, without the table of patches by patches.
        block.attn.use_flash_attention = True  # type: ignore[union-attr]
        # There MONAI would drop weights of the attention in evaluation mode too.
        block.attn.dropout_rate = 0.0  # type: ignore[union-attr]
    return network


register_image_encoder("vit_small")(partial(ViTEncoder, 384, heads=6))
register_image_encoder("vit_base", weights=("brainiac",))(partial(ViTEncoder, 768, heads=12))
