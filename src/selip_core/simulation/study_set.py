"""Simulate a data set of head-MRI studies: images, reports, and the truth behind them."""

import multiprocessing
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from functools import partial
from pathlib import Path

from tqdm import tqdm

from selip_core._optional import require
from selip_core.interruption import ignore_signals
from selip_core.simulation.contrast import SEQUENCES
from selip_core.simulation.folder import prepare_folder, refuse_to_shrink
from selip_core.simulation.parameters import Parameters
from selip_core.simulation.patients import Visit, schedule_visits
from selip_core.simulation.storage import study_folder, write_study
from selip_core.simulation.study import simulate_study
from selip_core.simulation.tables import write_tables

STUDIES_PER_WORKER = 20
"""Starting a process takes about as long as this many studies."""


def simulate(
    out: str | os.PathLike[str],
    studies: int,
    seed: int = 0,
    spacing: float = 4.0,
    workers: int | None = None,
    progress: bool = True,
    *,
    sequences: Sequence[str] = SEQUENCES,
    normal_share: float = 0.4,
    tail: float = 1.0,
    split: tuple[float, float, float] = (0.7, 0.15, 0.15),
    held_out_share: float = 0.5,
) -> Path:
    """Simulate head-MRI studies with lesions, and return the path of their manifest.

    Lesions of known kind, site and side are put into deformed copies of the MNI152 template, which
    is real head anatomy without its skull; what each sequence shows of them becomes findings and
    reports in English (``text``) and Chinese (``text_zh``). All of it is simulated data and marked
    so. The folder then holds::

        manifest.jsonl                      a row a volume
        reports.jsonl                       a report a (study, sequence)
        truth.jsonl                         a row a study: kinds, sites, sides, volumes of lesions
        simulation.json                     parameters and versions
        volumes/<study>/<sequence>.nii.gz   images in RAS, int16
        volumes/<study>/lesions.nii.gz      0, or the label of the lesion in truth.jsonl

    The same parameters give the same bytes, whatever the number of workers. Studies that are
    there already are kept: the same call goes on after an interruption, and a call with more
    studies adds to a smaller set.

    Args:
        out: Folder, new or made with the same parameters.
        studies: How many studies; 1 or more.
        seed: Start of all chance; 0 or greater.
        spacing: Edge of a voxel in millimetres, 1 to 10.
        workers: Processes; None takes as many as there are cores and work for. A script that uses
            more than one needs the usual ``if __name__ == "__main__":``.
        progress: Whether to show a progress bar.
        sequences: Which of T1, T2, FLAIR, DWI and ADC to make.
        normal_share: Share of studies without a lesion, in ``[0, 1]``.
        tail: Power of the frequencies of kinds, sites and sides: 1 is a hospital's long tail, 0
            makes all equally frequent.
        split: Shares of train, validation and test; patients are in one split each.
        held_out_share: Share of validation and test reports in phrases that no training report
            uses, in ``[0, 1]``.

    Raises:
        ImportError: If nilearn or scipy is missing; ``pip install "selip-core[demo]"``.
        ValueError: If an argument is out of its range, or the folder cannot be written or holds
            something else or more studies.
        KeyboardInterrupt: After Ctrl-C. What is written is complete; the same call goes on.

    Example:
        >>> import tempfile
        >>> manifest = simulate(tempfile.mkdtemp(), studies=1, spacing=8.0, progress=False)
        >>> len(manifest.read_text().splitlines())
        5
    """
    require("nilearn", "demo")
    out = Path(out)
    parameters = Parameters(
        seed,
        float(spacing),
        tuple(sequences),
        float(normal_share),
        float(tail),
        split,
        float(held_out_share),
    )
    if studies < 1:
        raise ValueError(f"studies must be 1 or more, got {studies}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    prepare_folder(out, parameters)
    refuse_to_shrink(out, studies)
    visits = schedule_visits(parameters, studies)
    missing = [visit for visit in visits if not study_folder(out, visit.study).exists()]
    _make(out, parameters, missing, workers, progress)
    return write_tables(out, visits)


def _make(
    out: Path, parameters: Parameters, visits: list[Visit], workers: int | None, progress: bool
) -> None:
    """Make the studies of these visits, and show how far it is."""
    if workers is None:
        workers = min(os.cpu_count() or 1, max(1, len(visits) // STUDIES_PER_WORKER))
    work = partial(make_study, out, parameters)
    make = _in_turn(work, visits) if workers == 1 else _in_processes(work, visits, workers)
    with closing(make), require("threadpoolctl", "demo").threadpool_limits(1):
        for _ in tqdm(make, "simulating", len(visits), unit="study", disable=not progress):
            pass


def make_study(out: Path, parameters: Parameters, visit: Visit) -> None:
    """Simulate one study and write it."""
    write_study(out, simulate_study(visit, parameters))


def _in_turn(work: partial[None], visits: list[Visit]) -> Generator[None, None, None]:
    for visit in visits:
        yield work(visit)


def _in_processes(
    work: partial[None], visits: list[Visit], workers: int
) -> Generator[None, None, None]:
    """Run the work in new processes; on Ctrl-C they finish the study at hand and stop."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        futures = [pool.submit(work, visit) for visit in visits]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Use one thread, and leave signals to the parent: terminals send them to every process."""
    require("threadpoolctl", "demo").threadpool_limits(1)
    ignore_signals()
