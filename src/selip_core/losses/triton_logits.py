"""One tile of logits, which both Triton kernels make and neither keeps."""

import triton
import triton.language as tl


@triton.jit
def logits_tile(
    images: tl.tensor,
    texts: tl.tensor,
    scale: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    n: tl.tensor,
    m: tl.tensor,
    width: tl.tensor,
    BLOCK_WIDTH: tl.constexpr,
    EVEN_WIDTH: tl.constexpr,
    INPUT_PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return ``scale * images[rows] @ texts[columns].T`` in float32.

    Beyond the last row or column the last one is repeated, so that loads need no mask; who reduces
    a tile leaves the repetitions out.
    """
    features = tl.arange(0, BLOCK_WIDTH)
    image_rows = tl.minimum(rows, n - 1).to(tl.int64) * width
    text_rows = tl.minimum(columns, m - 1).to(tl.int64) * width
    left = images + image_rows[:, None] + features[None, :]
    right = texts + text_rows[None, :] + features[:, None]
    cosines = tl.zeros((rows.shape[0], columns.shape[0]), tl.float32)
    for start in range(0, width, BLOCK_WIDTH):
        if EVEN_WIDTH:
            image_tile = tl.load(left)
            text_tile = tl.load(right)
        else:
            inside = start + features < width
            image_tile = tl.load(left, mask=inside[None, :], other=0.0)
            text_tile = tl.load(right, mask=inside[:, None], other=0.0)
        cosines = tl.dot(image_tile, text_tile, cosines, input_precision=INPUT_PRECISION)
        left += BLOCK_WIDTH
        right += BLOCK_WIDTH
    return cosines * scale
