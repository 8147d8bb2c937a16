"""What similarity gains over plain CLIP in the demonstration, over several seeds.

Each seed has its own simulated data and initial weights; within a seed all arms share both, and the
batches too, so differences are paired. The arms ``clip`` and ``similarity`` are those of
``selip demo --seed S``; ``identical`` takes reports with equal findings as positives, no more.

Run: ``python benchmarks/demo_seeds.py --work DIR [--seeds 5] [--jobs 2]``. Runs that are done are
skipped; one that was stopped goes on. ``--summarise`` only writes the result of what is there.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scipy import stats

from results import write_result
from selip_core.recipes import PretrainConfig, pretrain, retrieve
from selip_core.recipes.config import ObjectiveConfig
from selip_core.recipes.demo import EPOCHS, PLAIN_CLIP, SIMILARITY, SPACING_MM, STUDIES
from selip_core.simulation import simulate

ARMS = {
    "clip": PLAIN_CLIP,
    "similarity": SIMILARITY,
    "identical": PLAIN_CLIP.model_copy(update={"objective": ObjectiveConfig(target="identical")}),
}
DIRECTIONS = ("image_to_text", "text_to_image")
FIGURES = ("R@1", "R@5", "R@10", "nDCG@10", "kind@1")


def configuration(arm: str, seed: int) -> PretrainConfig:
    """Return the settings of one run."""
    return ARMS[arm].model_copy(update={"seed": seed, "epochs": EPOCHS, "validate_every": EPOCHS})


def run_seed(work: Path, seed: int) -> None:
    """Simulate the data of a seed and run every arm on it, in this process."""
    data, cache = work / f"data-{seed}", work / f"cache-{seed}"
    sequences = PLAIN_CLIP.data.sequences
    assert sequences is not None
    manifest = simulate(
        data, STUDIES, seed, SPACING_MM, workers=1, progress=False, sequences=sequences
    )
    for arm in ARMS:
        out = work / f"{arm}-{seed}"
        if not (out / "model" / "config.json").exists():
            resume = (out / "config.json").exists()
            config = configuration(arm, seed)
            pretrain(manifest, config, out, resume=resume, cache=cache, progress=False)
        if not (out / "retrieval.json").exists():
            retrieve(manifest, out, cache=cache, examples=0, progress=False)


def run_seeds(work: Path, seeds: Sequence[int], jobs: int) -> None:
    """Run seeds side by side, each in a process with one thread of its own."""

    def one(seed: int) -> None:
        command = [sys.executable, __file__, "--work", str(work), "--only", str(seed)]
        subprocess.run(command, check=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, seeds))


def figures_of(work: Path, arm: str, seed: int) -> dict[str, float]:
    """Return the figures of a run on test studies and their chance levels, by name."""
    path = work / f"{arm}-{seed}" / "retrieval.json"
    pooled = json.loads(path.read_text(encoding="utf-8"))["pooled"]
    found = {
        f"{direction} {figure}": pooled["abnormal"][direction][figure]
        for direction in DIRECTIONS
        for figure in FIGURES
    }
    # Normal volumes look for the one normal report among all reports.
    found["normal R@1"] = pooled["normal"]["image_to_text"]["R@1"]
    found["normal R@10"] = pooled["normal"]["image_to_text"]["R@10"]
    values = {name: figure["value"] for name, figure in found.items()}
    return values | {f"{name} chance": figure["chance"] for name, figure in found.items()}


def paired(differences: Sequence[float]) -> dict[str, float]:
    """Return the mean difference and its 95 % t-interval over seeds."""
    mean = statistics.fmean(differences)
    degrees = len(differences) - 1
    half = (
        float(stats.t.ppf(0.975, degrees)) * statistics.stdev(differences) / len(differences) ** 0.5
    )
    return {"mean": mean, "low": mean - half, "high": mean + half}


def summarise(work: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Return every run's figures, and the paired differences from plain CLIP."""
    runs = {arm: [figures_of(work, arm, seed) for seed in seeds] for arm in ARMS}
    names = [name for name in runs["clip"][0] if not name.endswith(" chance")]
    differences = {
        arm: {
            name: paired(
                [
                    ours[name] - clip[name]
                    for ours, clip in zip(runs[arm], runs["clip"], strict=True)
                ]
            )
            for name in names
        }
        for arm in ARMS
        if arm != "clip"
    }
    settings = {"studies": STUDIES, "epochs": EPOCHS, "sequences": PLAIN_CLIP.data.sequences}
    return {
        "simulated": True,
        "settings": settings,
        "seeds": list(seeds),
        "runs": runs,
        "paired_differences_from_clip": differences,
    }


def main() -> None:
    """Run what is missing, summarise, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of data and runs")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1 (default: 5)")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time (default: 2)")
    parser.add_argument("--summarise", action="store_true", help="run nothing")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is not None:
        import torch

        torch.set_num_threads(1)
        run_seed(arguments.work, arguments.only)
        return
    seeds = range(arguments.seeds)
    if not arguments.summarise:
        run_seeds(arguments.work, seeds, arguments.jobs)
    result = summarise(arguments.work, seeds)
    for arm, by_name in result["paired_differences_from_clip"].items():
        for name, gain in by_name.items():
            interval = f"[{gain['low']:+.3f}, {gain['high']:+.3f}]"
            print(f"{arm:11s} {name:24s} {gain['mean']:+.3f} {interval}")
    print(write_result("demo_seeds", result).name)


if __name__ == "__main__":
    main()
