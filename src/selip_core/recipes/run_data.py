"""Compare the data of a resumed run with the data it was started with."""

import logging
from collections.abc import Collection

from selip_core.data import Manifest
from selip_core.recipes.checkpoint import State
from selip_core.recipes.data_record import DataRecord, data_changes, record_data, rows_digest
from selip_core.recipes.run_folder import RunFolder

_REMEDY = (
    "put back what was there, start in another folder, or go on with the changed data by "
    "--accept-changed-data"
)
_logger = logging.getLogger(__name__)


def check_data(
    run: RunFolder,
    rows: Manifest,
    used: Collection[Manifest],
    state: State | None,
    accept: bool,
) -> tuple[DataRecord, dict[str, int] | None]:
    """Return the record of the data, and how many changes were accepted, if any.

    Args:
        run: The run.
        rows: All rows of the manifest.
        used: Selections of it, whose volumes the run reads.
        state: The checkpoint to go on from. Without one nothing was trained yet, and any data do.
        accept: Accept changes, with a warning.

    Raises:
        DataError: If volumes are missing; all are named.
        ValueError: If rows, reports or volumes changed and ``accept`` is false.
    """
    before = None if state is None else run.read_data_record()
    now = record_data(rows, used, None if before is None else before.salt)
    if state is None:
        return now, None
    counts: dict[str, int] = {}
    if before is not None:
        changes = data_changes(before, now, rows)
        what, counts = changes.describe(rows.path.name), changes.counts
        if not changes:
            return now, None
    elif state[1]["data"] == rows_digest(rows):
        return now, None
    else:
        what = "  the manifest or its reports"
    message = f"the data changed since {run.path} was started:\n{what}\n"
    if not accept:
        raise ValueError(message + _REMEDY)
    _logger.warning("%sthe run goes on with them, and its history says so", message)
    return now, {"step": state[1]["position"]["step"], **counts}
