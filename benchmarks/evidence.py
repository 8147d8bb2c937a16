"""Which target of the similarity makes a model better than plain CLIP, and when it does not.

A study on simulated head MRI: every run trains a small dual encoder on one target and measures it
on studies and phrasings that it never saw. Data, initial weights and order of batches are shared
by all arms of a seed. See ``docs/evidence.md`` for arms, factors and measures.

Run: ``python benchmarks/evidence.py run --work DIR [--workers 2] [--stage main ...]``. What is
done is not done again: kill it, start it again, start a second one beside it. ``plan`` lists the
runs and about how long they take; ``summary`` writes ``results/evidence.json`` and
``results/evidence.jsonl`` from the rows that are there. The main comparison on larger volumes and
networks is for a GPU: ``--stage large-tune large --device cuda``.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from evidence_plan import GPU_STAGES, STAGES, TRIALS, cost, runs_of
from evidence_rows import Row, RowFile, rounded
from evidence_runs import Run

ALL_STAGES = (*TRIALS, *STAGES)
CPU_STAGES = tuple(stage for stage in ALL_STAGES if stage not in GPU_STAGES)
WAIT_SECONDS = 10.0


def execute(run: Run, work: Path, device: str = "cpu") -> Row:
    """Train and measure one run; what goes wrong is told in its row."""
    from evidence_data import load_data
    from evidence_measures import measure, validation_score
    from evidence_training import train
    from selip_core.recipes.environment import describe_environment

    wall, cpu = time.perf_counter(), time.process_time()
    row: Row = {
        "run": run.to_json(),
        "size": list(run.data.size),
        "steps": run.steps,
        "device": device,
    }
    data = load_data(work, run.data, device)
    ready = time.perf_counter() - wall, time.process_time() - cpu
    try:
        trained = train(run, data)
        row["validation"] = rounded(validation_score(trained.model, data))
        row["test"] = rounded(measure(trained.model, data))
        row["target"] = rounded(trained.target)
        row["label_smoothing"] = rounded(trained.label_smoothing)
        row["history"] = columns(rounded(trained.history))
    except (ValueError, RuntimeError) as error:
        row["error"] = str(error)
    row["seconds"] = round(time.perf_counter() - wall - ready[0], 1)
    row["cpu_seconds"] = round(time.process_time() - cpu - ready[1], 1)
    row["data_seconds"] = round(ready[0], 1)
    row["environment"] = describe_environment()
    row["commit"] = commit()
    return row


def columns(history: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return a list by name instead of a dictionary by time."""
    return {name: [row[name] for row in history] for name in history[0]} if history else {}


def commit() -> str:
    """Return the commit of this code, with a mark if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def work_through(work: Path, stages: list[str], device: str = "cpu") -> None:
    """Do what is missing, in order, until nothing is; other processes may do the same."""
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    rows = RowFile(work)
    while True:
        missing = missing_runs(rows.read(), stages)
        if not missing:
            return
        if not any(try_run(run, rows, work, device) for run in missing):
            # Others hold all that is left; what they find may open further runs.
            time.sleep(WAIT_SECONDS)


def missing_runs(rows: dict[str, Row], stages: list[str]) -> list[Run]:
    """Return the runs without a row, each once, in order."""
    runs = [run for stage in stages for run in runs_of(stage, rows)]
    return [run for run in dict.fromkeys(runs) if run.key not in rows]


def try_run(run: Run, rows: RowFile, work: Path, device: str = "cpu") -> bool:
    """Do a run unless another process does, or makes its data; tell whether it was done here."""
    from evidence_data import is_being_made

    if is_being_made(work, run.data):
        return False
    with rows.claim(run) as is_ours:
        if is_ours:
            row = execute(run, work, device)
            rows.append(row)
            score = row.get("validation", row.get("error"))
            print(f"{row['seconds']:7.1f} s  {score}  {run}", flush=True)
        return is_ours


def run_workers(work: Path, stages: list[str], workers: int, device: str) -> None:
    """Work through the stages in so many processes, on a processor of one thread each."""
    if workers == 1:
        work_through(work, stages, device)
        return
    command = [sys.executable, __file__, "run", "--work", str(work), "--device", device]
    command += ["--stage", *stages]
    processes = [subprocess.Popen(command) for _ in range(workers)]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit("a worker failed; what is done stays done")


def show_plan(work: Path, stages: list[str]) -> None:
    """Print the runs of every stage, how many are missing, and about how long these take."""
    rows = RowFile(work).read()
    done = [(Run.from_json(row["run"]), row) for row in rows.values()]
    paces = [row["cpu_seconds"] / cost(run) for run, row in done if row.get("device") != "cuda"]
    pace = sorted(paces)[len(paces) // 2] if paces else 60.0
    print(f"a run in the middle takes {pace:.0f} s of a core" + ", it is supposed" * (not paces))
    seen: set[Run] = set()
    for stage in stages:
        planned = dict.fromkeys(runs_of(stage, rows, plan=True))
        runs = [run for run in planned if run not in seen]
        seen |= set(runs)
        missing = [run for run in runs if run.key not in rows]
        hours = f"{sum(map(cost, missing)) * pace / 3600:5.2f} core hours"
        told = "on a GPU" if stage in GPU_STAGES else hours
        print(f"{stage:10s} {len(runs):4d} runs, {len(missing):4d} missing, {told}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("action", choices=["plan", "run", "summary"])
    parser.add_argument("--work", type=Path, required=True, help="folder of data and rows")
    parser.add_argument("--stage", nargs="+", choices=ALL_STAGES, default=list(CPU_STAGES))
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    arguments = parser.parse_args()
    if arguments.action == "plan":
        show_plan(arguments.work, arguments.stage)
    elif arguments.action == "run":
        run_workers(arguments.work, arguments.stage, arguments.workers, arguments.device)
    else:
        from evidence_summary import write_summary

        write_summary(arguments.work)


if __name__ == "__main__":
    main()
