"""The target that a configuration names, fitted on the training reports."""

from collections.abc import Callable, Sequence

from selip_core.findings import Report, distinct_label
from selip_core.recipes.config import ObjectiveConfig
from selip_core.similarity import SyntaxSimilarity, identical_positives
from selip_core.similarity.operators import SimilarityOperator

Target = Callable[[Sequence[str]], SimilarityOperator | None]
"""From the report ids of a batch to its raw similarities; None is plain CLIP."""


def fit_target(config: ObjectiveConfig, reports: Sequence[Report]) -> Target:
    """The target of batches of these reports: one branch for each ``target`` of the configuration.

    Example:
        >>> reports = [Report(id="1", normal=True), Report(id="2", normal=True)]
        >>> fit_target(ObjectiveConfig(target="identical"), reports)(["1", "2"]).dense()
        tensor([[1., 1.],
                [1., 1.]])
    """
    if config.target == "none":
        return lambda ids: None
    if config.target == "identical":
        labels = {report.id: distinct_label(report) for report in reports}
        return lambda ids: identical_positives([labels[id] for id in ids])
    if config.target == "paper":
        similarity = SyntaxSimilarity.paper()
    else:
        similarity = SyntaxSimilarity(aggregation=config.aggregation, gamma=config.gamma)
    fitted = similarity.fit(reports)
    return lambda ids: fitted.batch(ids)
