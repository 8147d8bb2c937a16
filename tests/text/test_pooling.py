import torch

from selip_core.text.pooling import cls_pooling, mean_pooling


def test_mean_leaves_padding_out():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [99.0, 99.0]], [[1.0, 1.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    expected = torch.tensor([[2.0, 4.0], [1.0, 1.0]])
    torch.testing.assert_close(mean_pooling(hidden, mask), expected)


def test_mean_of_half_precision_is_summed_in_float32():
    hidden = torch.full((1, 2000, 1), 1.0, dtype=torch.bfloat16)
    mean = mean_pooling(hidden, torch.ones(1, 2000, dtype=torch.long))
    assert mean.dtype == torch.bfloat16
    assert mean.item() == 1.0


def test_mean_of_no_token_is_zero():
    assert mean_pooling(torch.ones(1, 3, 2), torch.zeros(1, 3).long()).tolist() == [[0.0, 0.0]]


def test_cls_is_the_first_token():
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    assert cls_pooling(hidden, torch.ones(2, 3)).tolist() == [[0.0, 1.0], [6.0, 7.0]]
