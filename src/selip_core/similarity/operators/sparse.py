"""Sparse matrices of weights."""

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.similarity.operators.base import Index


def sparse_matrix(
    rows: Index, columns: Index, values: Float[Tensor, " entries"], shape: tuple[int, int]
) -> Float[Tensor, "n m"]:
    """Return a sparse (COO) matrix; entries at one place add up."""
    places = torch.stack([rows, columns])
    # The invariants (places within the shape) are the callers' to keep; checking costs a pass.
    matrix = torch.sparse_coo_tensor(places, values, shape, check_invariants=False)
    return matrix.coalesce()
