import importlib
import json

import pytest

from selip_core.cli import main
from selip_core.recipes import demo
from selip_core.recipes.config import ObjectiveConfig
from selip_core.recipes.demo_page import told_objective

recipe = importlib.import_module("selip_core.recipes.demo")


@pytest.fixture
def tiny(monkeypatch):
    """A model that is small enough to be trained in a test."""
    clip = recipe.PLAIN_CLIP
    image_encoder = clip.image_encoder.model_copy(
        update={"name": "resnet10", "options": {"width": 0.0625, "stem": "cubic"}}
    )
    data = clip.data.model_copy(update={"sequences": ("T2",), "spacing": (12.0, 12.0, 12.0)})
    data = data.model_copy(update={"size": (16, 16, 16)})
    clip = clip.model_copy(update={"image_encoder": image_encoder, "data": data, "embed_dim": 16})
    similarity = clip.model_copy(update={"objective": recipe.SIMILARITY.objective})
    monkeypatch.setattr(recipe, "PLAIN_CLIP", clip)
    monkeypatch.setattr(recipe, "SIMILARITY", similarity)
    monkeypatch.setattr(recipe, "SPACING_MM", 8.0)


@pytest.mark.slow
def test_from_nothing_to_the_page_and_again(tiny, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--studies", "24", "--epochs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "With similarity" in printed
    assert str(out / "report.html") in printed

    results = json.loads((out / "results.json").read_text())
    assert results["simulated"] is True
    assert results["seed"] == 0
    assert {"value", "low", "high"} == results["differences"]["image_to_text"]["R@1"].keys()
    histories = [arm["history"] for arm in results["arms"].values()]
    assert [len(history) for history in histories] == [2, 2]
    assert histories[0][-1]["step"] == histories[1][-1]["step"]
    page = (out / "report.html").read_text()
    assert "simulated" in page
    assert page.count("<img") >= 5

    seconds = results["seconds"]
    (out / "report.html").unlink()
    assert demo(out, studies=24, epochs=2, progress=False) == out / "report.html"
    assert json.loads((out / "results.json").read_text())["seconds"] == seconds

    with pytest.raises(ValueError, match=r"other settings \(epochs was 2, is now 3\)"):
        demo(out, studies=24, epochs=3)


def test_too_few_studies_are_refused(tmp_path):
    with pytest.raises(ValueError, match="studies must be at least 20, some for each split, got 7"):
        demo(tmp_path / "demo", studies=7)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"seed": -3}])
def test_settings_out_of_range_are_refused_before_any_work(tmp_path, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"seed at least 0, got .*{name} {value}"):
        demo(tmp_path / "demo", **wrong)
    assert not (tmp_path / "demo").exists()


def test_arms_differ_in_their_objective_alone():
    clip, similarity = recipe.PLAIN_CLIP.model_dump(), recipe.SIMILARITY.model_dump()
    assert clip.pop("objective")["target"] == "none"
    assert similarity.pop("objective")["target"] != "none"
    assert clip == similarity


@pytest.mark.parametrize("target", ["none", "identical", "syntax", "paper"])
def test_every_objective_can_be_told(target):
    assert "model" in told_objective(ObjectiveConfig(target=target)) or target == "none"


def test_help_tells_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"simulated studies (default: {recipe.STUDIES})" in told
    assert f"passes over the training volumes (default: {recipe.EPOCHS})" in told
