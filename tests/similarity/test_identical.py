import torch

from selip_core.similarity import identical_positives


def test_equal_ids_or_labels_are_positives():
    expected = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    torch.testing.assert_close(identical_positives(["a", "b", "a"]).dense(), expected)
    torch.testing.assert_close(identical_positives(torch.tensor([5, 2, 5])).dense(), expected)


def test_rows_and_columns_share_their_labels():
    block = identical_positives(["a", "b"], ["b", "c", "a"], dtype=torch.float64)
    assert block.dtype == torch.float64
    torch.testing.assert_close(block.dense(), torch.tensor([[0.0, 0, 1], [1, 0, 0]]).double())
