"""The model card of a pretraining run: what the run knows, and no more."""

from collections.abc import Sequence
from typing import Any

from selip_core.data import Manifest
from selip_core.pretrained import ModelCard
from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.model import without_paths


def run_card(
    config: PretrainConfig,
    training: Manifest,
    validation: Manifest,
    history: Sequence[dict[str, Any]],
) -> ModelCard:
    """Counts of the data, settings and the last validation. Who trained it adds the rest.

    Args:
        config: The settings of the run.
        training: The rows that were trained on.
        validation: The rows that were validated on; may be none.
        history: One row an epoch.
    """
    figures, told = _validation(history)
    return ModelCard(
        summary=f"Volumes and report texts to unit-norm features of one space of "
        f"{config.embed_dim} numbers, pretrained by `selip pretrain` with the target "
        f"`{config.objective.target}`.",
        data=_data(training, validation),
        training=_training(config, history),
        metrics=figures,
        metrics_data=told,
        tags=("contrastive-learning", "vision-language"),
    )


def _data(training: Manifest, validation: Manifest) -> str:
    validated = f" Validated on {_counts(validation)}." if len(validation) else ""
    return (
        f"Trained on {_counts(training)}.{validated} From which hospitals, scanners and years "
        "these come, and which permission there was, the run does not know: please add it."
    )


def _counts(rows: Manifest) -> str:
    def distinct(key: str) -> int:
        return len({getattr(row, key) for row in rows.rows})

    sequences = ", ".join(sorted({row.sequence for row in rows.rows}))
    return (
        f"{len(rows):,} volumes ({sequences}) of {distinct('study'):,} studies and "
        f"{distinct('patient'):,} patients, with {distinct('report'):,} reports"
    )


def _training(config: PretrainConfig, history: Sequence[dict[str, Any]]) -> str:
    steps = f"{history[-1]['step']:,} steps in {len(history):,} epochs. " if history else ""
    data = config.data
    settings = without_paths(config).model_dump_json(indent=2)
    return (
        f"{steps}Volumes are prepared by `selip_core.data.Preprocessing(spacing={data.spacing}, "
        f"size={data.size}, percentiles={data.percentiles})`. All settings:\n\n"
        f"```json\n{settings}\n```"
    )


def _validation(history: Sequence[dict[str, Any]]) -> tuple[dict[str, float | str], str | None]:
    validated = [row["validation"] for row in history if "validation" in row]
    if not validated:
        return {}, None
    last = validated[-1]
    figures = {"R@1, image to text": last["recall"], "R@1 by chance": last["chance"]}
    told = (
        f"{last['queries']:,} abnormal validation volumes, each against the distinct abnormal "
        "reports of its own sequence, at the end of training. `selip retrieve` measures the test "
        "split, with intervals."
    )
    return figures, told
