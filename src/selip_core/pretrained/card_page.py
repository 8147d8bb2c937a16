"""The model card as a page: front matter that the Hugging Face hub reads, and Markdown."""

import re
from collections.abc import Mapping, Sequence

from selip_core._version import __version__
from selip_core.pretrained.card import ModelCard
from selip_core.pretrained.kinds import Kind
from selip_core.pretrained.source import WeightsSource

NOT_TOLD = "Not told by whoever saved this model."

Rows = Sequence[tuple[str, str]]


def card_page(
    card: ModelCard, kind: Kind, facts: Mapping[str, str], sources: Sequence[WeightsSource]
) -> str:
    """Return the page.

    Args:
        card: What people tell.
        kind: Of the module.
        facts: What the module tells of itself.
        sources: Where its weights come from, if it did not start from random ones.
    """
    told = [_origin(source) for source in sources]
    model = [*facts.items(), ("Weights it started from", "; ".join(told) or "random, or not known")]
    sections = {
        "Load it": _loading(kind),
        "Model": _table([*model, ("Saved by", f"selip-core {__version__}")]),
        "Data": card.data,
        "Training": card.training,
        "Metrics": _metrics(card),
        "Intended use": card.intended_use,
        "Limits": card.limits,
        "Licence": _licence(card, sources),
    }
    title = f"# {card.title or kind.name.replace('_', ' ').capitalize()}"
    parts = [title, card.summary or NOT_TOLD]
    parts += [f"## {name}\n\n{text or NOT_TOLD}" for name, text in sections.items()]
    return f"---\n{_front_matter(card, kind, sources)}---\n\n" + "\n\n".join(parts) + "\n"


def _origin(source: WeightsSource) -> str:
    return f"{source.name} ({source.licence})" + (f", {source.url}" if source.url else "")


def _front_matter(card: ModelCard, kind: Kind, sources: Sequence[WeightsSource]) -> str:
    from huggingface_hub import ModelCardData

    licences = [card.licence] if card.licence else _inherited(sources)
    data = ModelCardData(
        license=_identifier(licences) if licences else None,
        library_name="selip-core",
        language=list(card.languages) or None,
        metrics=list(card.metrics) or None,
        pipeline_tag=kind.task,
        tags=["medical", "radiology", *card.tags],
    )
    return f"{data.to_yaml()}\n"


def _identifier(licences: Sequence[str]) -> str:
    """The hub knows names of licences in small letters; what is told in words is none of them."""
    is_name = len(licences) == 1 and re.fullmatch(r"[\w.+-]+", licences[0])
    return licences[0].lower() if is_name else "other"


def _inherited(sources: Sequence[WeightsSource]) -> list[str]:
    return list(dict.fromkeys(source.licence for source in sources))


def _loading(kind: Kind) -> str:
    name = kind.module.__name__
    return (
        f"```python\nfrom {kind.home} import {name}\n\n"
        f'model = {name}.from_pretrained("the folder of this file")\n```'
    )


def _metrics(card: ModelCard) -> str | None:
    if not card.metrics:
        return card.metrics_data
    figures = [
        (name, value if isinstance(value, str) else f"{value:.4g}")
        for name, value in card.metrics.items()
    ]
    return f"{_table(figures)}\n\n{card.metrics_data or f'On which data: {NOT_TOLD}'}"


def _licence(card: ModelCard, sources: Sequence[WeightsSource]) -> str:
    inherited = ", ".join(f"{source.licence} ({source.name})" for source in sources)
    if card.licence:
        bound = f" The weights it started from have their own: {inherited}." if sources else ""
        return f"{card.licence}.{bound}"
    return f"Inherited from the weights it started from: {inherited}." if sources else NOT_TOLD


def _table(rows: Rows) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
