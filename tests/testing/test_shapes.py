import pytest

from selip_core.testing import shapes


@pytest.mark.parametrize("tile", [2, 16, 64, 128])
@pytest.mark.parametrize("paired", [True, False])
def test_every_axis_meets_every_size(tile: int, paired: bool) -> None:
    needed = {1, tile - 1, tile, tile + 1, 2 * tile + 3}
    for sizes in zip(*shapes(tile, paired=paired), strict=True):
        assert needed <= set(sizes)
        assert any(size % 2 for size in sizes)


def test_numbers_of_images_and_texts_differ_unless_paired() -> None:
    *ragged, whole = shapes(64)
    assert all(shape.images != shape.texts for shape in ragged)
    assert whole == (64, 64, 64)
    assert all(shape.images == shape.texts for shape in shapes(64, paired=True))


def test_there_is_no_empty_tile() -> None:
    with pytest.raises(ValueError, match="tile must be at least 2, got 1"):
        shapes(1)
