"""What the demonstration's page shows, collected from its folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selip_core.data import Manifest, read_manifest
from selip_core.evaluation import read_truth
from selip_core.findings import Report
from selip_core.recipes.config import ObjectiveConfig, PretrainConfig
from selip_core.recipes.demo_samples import Truth, choose_studies, held_out_image, sample_study
from selip_core.recipes.environment import describe_environment
from selip_core.recipes.objective import fit_target
from selip_core.recipes.retrieval_comparison import compare
from selip_core.recipes.run_folder import RunFolder
from selip_core.recipes.similar_reports import choose_reports
from selip_core.report import Arm, ArmKey, HeldOutImage, Page, SimilarityMatrix
from selip_core.similarity import SyntaxSimilarity

SAMPLE_STUDIES = 3
NAMES: dict[ArmKey, str] = {"clip": "Plain CLIP", "similarity": "With similarity"}


def demo_page(
    manifest_path: Path,
    runs: Mapping[ArmKey, RunFolder],
    configs: Mapping[ArmKey, PretrainConfig],
    seconds: Mapping[str, float],
) -> Page:
    """The content of the page, from the simulated data and two runs that are measured.

    Args:
        manifest_path: The simulated data; ``truth.jsonl`` lies beside it.
        runs: Run folders of the arms.
        configs: What they were trained with.
        seconds: By phase.
    """
    manifest = read_manifest(manifest_path)
    truth = read_truth(manifest_path.with_name("truth.jsonl"))
    config = configs["similarity"]
    arms = [_arm(key, runs[key], configs[key].objective) for key in runs]
    sequences = config.data.sequences or sorted({row.sequence for row in manifest.rows})
    test_studies = list(dict.fromkeys(row.study for row in manifest.select("test").rows))
    reports = choose_reports(list(manifest.select("train", sequences[:1]).reports.values()))
    return Page(
        counts=_counts(manifest, truth),
        sequences=sequences,
        epochs=config.epochs,
        seed=config.seed,
        arms=arms,
        differences=compare(runs["similarity"].path, runs["clip"].path),
        samples=[
            sample_study(manifest, truth, study)
            for study in choose_studies(truth, test_studies, SAMPLE_STUDIES)
        ],
        reports=[report.text or "" for report in reports],
        matrices=_matrices(reports, config.objective),
        held_out=_held_out(manifest, truth, arms),
        seconds=seconds,
        environment=describe_environment(),
        commands=[
            'pip install "selip-core[demo]"',
            f"selip demo --out demo --studies {len(truth)} --epochs {config.epochs} "
            f"--seed {config.seed}",
        ],
    )


def told_objective(config: ObjectiveConfig) -> str:
    """What a loss does with the other reports of a batch.

    Example:
        >>> told_objective(ObjectiveConfig(target="none"))
        'Plain CLIP takes every other report of a batch for wrong'
    """
    if config.target == "none":
        return "Plain CLIP takes every other report of a batch for wrong"
    if config.target == "identical":
        return "the other model also takes reports with the same findings for right"
    if config.target == "paper":
        return "the other model also follows the paper's similarity of reports"
    return (
        "the other model also pulls an image towards reports with similar findings "
        f"({_told_aggregation(config)}, to the power {config.gamma:g})"
    )


def _told_aggregation(config: ObjectiveConfig) -> str:
    return {"best": "best match", "mean": "mean over pairs"}[config.aggregation]


def _arm(key: ArmKey, run: RunFolder, objective: ObjectiveConfig) -> Arm:
    history = run.history.read_text(encoding="utf-8").splitlines()
    return Arm(
        name=NAMES[key],
        key=key,
        objective=told_objective(objective),
        retrieval=json.loads(run.retrieval().read_text(encoding="utf-8")),
        history=[json.loads(row) for row in history],
    )


def _counts(manifest: Manifest, truth: Truth) -> dict[str, int]:
    split_of = {row.study: row.split for row in manifest.rows}
    splits = list(split_of.values())
    counts = {split: splits.count(split) for split in ("train", "validation", "test")}
    return counts | {"normal": sum(not lesions for lesions in truth.values())}


def _matrices(reports: Sequence[Report], objective: ObjectiveConfig) -> list[SimilarityMatrix]:
    ids = [report.id for report in reports]
    measured = SyntaxSimilarity(aggregation="best", gamma=1.0).fit(reports).batch(ids)
    target = fit_target(objective, reports)(ids)
    matrices = [
        SimilarityMatrix(
            "As measured",
            "Site, side and signal of the findings, each matched with its best counterpart.",
            measured.dense().numpy(),
        )
    ]
    if target is not None:
        matrices.append(
            SimilarityMatrix(
                "As the loss takes it",
                f"{_told_target(objective)}; the loss divides each row by its sum.",
                np.asarray(target.dense()),
            )
        )
    return matrices


def _told_target(objective: ObjectiveConfig) -> str:
    if objective.target == "identical":
        return "1 where all findings are the same"
    if objective.target == "paper":
        return "The similarity of the paper"
    return f"{_told_aggregation(objective).capitalize()}, to the power {objective.gamma:g}"


def _held_out(manifest: Manifest, truth: Truth, arms: Sequence[Arm]) -> list[HeldOutImage]:
    by_arm: dict[str, dict[str, Any]] = {
        arm.name: {each["row"]: each["nearest"] for each in arm.retrieval["examples"]}
        for arm in arms
    }
    return [
        held_out_image(
            manifest, truth, row, {name: nearest[row] for name, nearest in by_arm.items()}
        )
        for row in by_arm[arms[0].name]
    ]
