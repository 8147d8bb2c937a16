import sys

import matplotlib
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from selip_core.findings import Finding, Report
from selip_core.similarity import Dense, SyntaxSimilarity, exact, identical_positives, plot_batch

PANELS = ["own mass", "positives", "similarities", "false negatives"]


@pytest.fixture(scope="module")
def description():
    sites = ["pons", "insula", "thalamus", "pons"] * 5
    reports = [
        Report(id=f"patient-{i}", findings=[Finding(site=site)]) for i, site in enumerate(sites)
    ]
    return SyntaxSimilarity(exact("site")).fit(reports).describe((4, 8, 16), samples=16)


def words(figure):
    """All that is written on a figure."""
    texts = figure.findobj(matplotlib.text.Text)
    return [text.get_text() for text in texts if text.get_text() and text.get_visible()]


@pytest.fixture(scope="module")
def drawn(description):
    """All four panels, laid out."""
    figure, axes = description.plot()
    FigureCanvasAgg(figure).draw()
    return figure, axes


def test_draws_four_panels_and_leaves_nothing_behind(description, drawn):
    figure, axes = drawn
    titles = [panel.get_title() for panel in axes]
    assert titles[0] == "Own-pair mass"
    assert len(set(titles)) == 4
    assert all(panel.get_xlabel() and panel.get_ylabel() for panel in axes)
    assert not any("patient" in word for word in words(figure))
    before = "matplotlib.pyplot" in sys.modules
    description.plot()
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize("panel", PANELS)
def test_draws_a_panel_where_it_is_told_to(description, panel):
    given = Figure().subplots()
    figure, axes = description.plot(panel, axes=given)
    assert axes is given
    assert figure is given.figure
    own, _ = description.plot(panel)
    assert own is not figure


def test_panels_show_the_numbers(description):
    _, axes = description.plot("own mass")
    same, own, distinct, least = axes.lines
    assert list(own.get_xdata()) == [4, 8, 16]
    assert list(own.get_ydata()) == [batch.own_mass for batch in description.batches]
    assert list(same.get_ydata()) == [batch.same_mass for batch in description.batches]
    assert list(distinct.get_ydata()) == [b.distinct_mass for b in description.batches]
    assert set(least.get_ydata()) == {0.2}
    _, axes = description.plot("positives")
    assert list(axes.lines[1].get_ydata()) == [batch.positives for batch in description.batches]
    _, axes = description.plot("false negatives")
    shares = [batch.false_negatives for batch in description.batches]
    assert list(axes.lines[0].get_ydata()) == shares
    _, axes = description.plot("similarities")
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1)


@pytest.mark.parametrize("size", [1, 16, 40, 80])
def test_heat_map_of_a_batch(size):
    values = torch.rand(size, size, generator=torch.Generator().manual_seed(0))
    figure, axes = plot_batch(Dense(values))
    (image,) = axes.images
    torch.testing.assert_close(torch.from_numpy(image.get_array().data), values)
    assert image.get_clim() == (0, 1)
    assert "similarity" in words(figure)
    assert bool(axes.texts) == (size <= 16)


def test_heat_map_names_reports_only_by_the_labels_that_are_given():
    operator = identical_positives(["patient-1", "patient-2", "patient-1"])
    figure, _ = plot_batch(operator)
    assert not any("patient" in word for word in words(figure))
    labels = ["normal", "infarct of the pons", "normal"]
    given = Figure().subplots()
    figure, axes = plot_batch(operator, labels, axes=given)
    assert axes is given
    written = [tick.get_text() for tick in axes.get_yticklabels()]
    assert written == ["normal  0", "infarct of the pons  1", "normal  2"]


def test_nothing_written_overlaps(drawn):
    figure, axes = drawn
    texts = []
    for panel in axes:
        texts += [panel.title, panel.xaxis.label, panel.yaxis.label]
        texts += [*panel.get_xticklabels(), *panel.get_yticklabels()]
        texts += panel.get_legend().get_texts() if panel.get_legend() else []
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    boxes = [box.shrunk(0.95, 0.95) for box in boxes]
    visible = [box for box in boxes if figure.bbox.overlaps(box)]
    assert len(visible) > 30
    for place, box in enumerate(visible):
        assert not any(box.overlaps(other) for other in visible[:place])


def test_misuse_is_refused(description):
    with pytest.raises(ValueError, match="axes hold one panel; name it"):
        description.plot(axes=Figure().subplots())
    with pytest.raises(ValueError, match=r"panel must be one of \('own mass'.*got 'mass'"):
        description.plot("mass")
    with pytest.raises(ValueError, match="labels must be one a row, 2, got 1"):
        plot_batch(Dense(torch.eye(2)), ["a"])


def test_without_matplotlib_the_extra_is_named(description, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"selip-core\[plot\]"):
        description.plot()
