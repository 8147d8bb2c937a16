"""The model card: what was told, what was not, and what the module tells of itself."""

import pytest

from selip_core.pretrained import ModelCard
from selip_core.pretrained.card_page import NOT_TOLD, card_page
from selip_core.pretrained.source import WeightsSource

SOURCE = WeightsSource("layers", "CC-BY-4.0", "https://example.org/layers")
OTHER = WeightsSource("others", "MIT", "https://example.org/others")


def sections(page):
    """Return the text under each heading."""
    _, _, body = page.split("---\n", maxsplit=2)
    parts = body.split("\n## ")
    return dict(part.split("\n\n", maxsplit=1) for part in parts[1:])


def front_matter(page):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(page.split("---\n")[1])


def test_what_is_left_out_says_so(layer_kind):
    page = card_page(ModelCard(), layer_kind(), {}, [])
    told = sections(page)
    for name in ("Data", "Training", "Metrics", "Intended use", "Limits", "Licence"):
        assert told[name].strip() == NOT_TOLD
    assert "license" not in front_matter(page)


def test_what_is_told_stands_in_its_section(layer_kind):
    card = ModelCard(
        title="Heads",
        summary="Of heads.",
        data="400 studies",
        training="25 epochs",
        metrics={"R@1": 0.36123, "AUC": "0.82 [0.80, 0.84]"},
        metrics_data="100 studies of other patients",
        intended_use="Research",
        limits="No children",
        licence="Apache-2.0",
        languages=("en", "zh"),
        tags=("mri",),
    )
    page = card_page(card, layer_kind(), {"Size": "3 | 2"}, [])
    told = sections(page)
    assert NOT_TOLD not in page
    assert "# Heads\n\nOf heads.\n" in page
    assert told["Data"] == "400 studies\n"
    assert told["Training"] == "25 epochs\n"
    assert "| R@1 | 0.3612 |\n| AUC | 0.82 [0.80, 0.84] |" in told["Metrics"]
    assert told["Metrics"].endswith("100 studies of other patients\n")
    assert told["Intended use"] == "Research\n"
    assert told["Limits"] == "No children\n"
    assert told["Licence"] == "Apache-2.0.\n"
    assert "| Size | 3 \\| 2 |" in told["Model"]
    assert front_matter(page) == {
        "library_name": "selip-core",
        "license": "apache-2.0",
        "language": ["en", "zh"],
        "metrics": ["R@1", "AUC"],
        "pipeline_tag": "feature-extraction",
        "tags": ["medical", "radiology", "mri"],
    }


def test_figures_without_their_data_say_so(layer_kind):
    page = card_page(ModelCard(metrics={"R@1": 0.5}), layer_kind(), {}, [])
    assert f"On which data: {NOT_TOLD}" in sections(page)["Metrics"]


@pytest.mark.parametrize(
    ("licence", "sources", "front"),
    [
        (None, [SOURCE], "cc-by-4.0"),
        (None, [SOURCE, OTHER], "other"),
        (None, [WeightsSource("own", "not told by the file", "")], "other"),
        ("Apache-2.0", [SOURCE], "apache-2.0"),
    ],
)
def test_the_licence_of_the_weights_is_inherited(layer_kind, licence, sources, front):
    page = card_page(ModelCard(licence=licence), layer_kind(), {}, sources)
    assert front_matter(page)["license"] == front
    told = sections(page)
    for source in sources:
        assert f"{source.licence} ({source.name})" in told["Licence"]
        url = f", {source.url}" if source.url else ""
        assert f"{source.name} ({source.licence}){url}" in told["Model"]
    start = "Apache-2.0. The weights it started from have" if licence else "Inherited from the wei"
    assert told["Licence"].startswith(start)
    assert NOT_TOLD not in told["Licence"]


def test_the_code_that_loads_it_names_class_and_package(layer_kind):
    page = card_page(ModelCard(), layer_kind(), {}, [])
    assert "from layers import Layer\n\nmodel = Layer.from_pretrained(" in sections(page)["Load it"]
