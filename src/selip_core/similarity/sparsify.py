"""The entries of a similarity that are kept."""

import torch

from selip_core.similarity.operators import BlockSource, Index, Sparse
from selip_core.similarity.operators.base import row_slices
from selip_core.similarity.operators.sparse import row_offsets


def sparsify(
    source: BlockSource, rows: Index, columns: Index, dtype: torch.dtype, top_k: int | None
) -> Sparse:
    """Return what is not 0, and with ``top_k`` only the largest of each row and each column.

    An entry stays if it is among the ``top_k`` largest of its row or of its column, or if its row
    and column are one position of the source; equal ones stay or go together. One sweep over blocks
    of rows: what is too small for its row, and for its column so far, is dropped at once.

    Example:
        >>> class Table:
        ...     nbytes = 0
        ...     def block(self, rows, columns, dtype):
        ...         return torch.tensor([[1.0, 0.5, 0.1], [0.5, 1.0, 0.0], [0.1, 0.0, 1.0]])[rows]
        >>> every = torch.arange(3)
        >>> sparsify(Table(), every, every, torch.float32, top_k=1).dense()
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """
    if top_k is not None and top_k >= min(rows.shape[0], columns.shape[0]):
        top_k = None  # whole rows, or whole columns, are among the largest
    largest_of_columns = torch.zeros(top_k or 1, columns.shape[0], dtype=dtype)
    floors_of_rows = torch.zeros(rows.shape[0], dtype=dtype)
    found_rows, found_columns, found_values = [], [], []
    # At least one block, where there is no row.
    for block in row_slices(max(rows.shape[0], 1), columns.shape[0]):
        values = source.block(rows[block], columns, dtype)
        if top_k is not None:
            both = torch.cat([largest_of_columns, values])
            largest_of_columns = both.topk(top_k, dim=0, sorted=True).values
            floors_of_rows[block] = values.topk(top_k, dim=1, sorted=True).values[:, -1]
        floors = torch.minimum(floors_of_rows[block, None], largest_of_columns[-1:])
        own = rows[block, None] == columns[None, :]
        places = (((values >= floors) | own) & (values > 0)).nonzero(as_tuple=True)
        found_rows.append(places[0] + block.start)
        found_columns.append(places[1])
        found_values.append(values[places])
    row, column, value = map(torch.cat, (found_rows, found_columns, found_values))
    floor = torch.minimum(floors_of_rows[row], largest_of_columns[-1, column])
    stays = (value >= floor) | (rows[row] == columns[column])
    offsets = row_offsets(row[stays], rows.shape[0])
    return Sparse(offsets, column[stays], value[stays], columns.shape[0])
