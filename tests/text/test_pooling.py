import torch

from selip_core.text.pooling import cls_pooling, last_pooling, mean_pooling

HIDDEN = torch.arange(12.0).reshape(2, 3, 2)
MASK = torch.tensor([[1, 1, 0], [0, 1, 1]])


def test_mean_leaves_padding_out():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [99.0, 99.0]], [[1.0, 1.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    expected = torch.tensor([[2.0, 4.0], [1.0, 1.0]])
    torch.testing.assert_close(mean_pooling(hidden, mask), expected)


def test_mean_is_weighted():
    hidden = torch.tensor([[[1.0], [4.0], [99.0]]])
    assert mean_pooling(hidden, torch.tensor([[1.0, 0.5, 0.0]])).tolist() == [[2.0]]


def test_mean_of_half_precision_is_summed_in_float32():
    hidden = torch.full((1, 2000, 1), 1.0, dtype=torch.bfloat16)
    mean = mean_pooling(hidden, torch.ones(1, 2000, dtype=torch.long))
    assert mean.dtype == torch.bfloat16
    assert mean.item() == 1.0


def test_mean_of_no_token_is_zero():
    assert mean_pooling(torch.ones(1, 3, 2), torch.zeros(1, 3).long()).tolist() == [[0.0, 0.0]]


def test_cls_is_the_first_token_whichever_side_is_padded():
    assert cls_pooling(HIDDEN, MASK).tolist() == [[0.0, 1.0], [8.0, 9.0]]


def test_last_is_the_last_token_whichever_side_is_padded():
    assert last_pooling(HIDDEN, MASK).tolist() == [[2.0, 3.0], [10.0, 11.0]]
    assert last_pooling(HIDDEN, MASK / 3).tolist() == [[2.0, 3.0], [10.0, 11.0]]
