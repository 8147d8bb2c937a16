import pytest
import torch

from selip_core.dual_encoder import DualEncoder
from selip_core.recipes.embedding import evaluating
from selip_core.recipes.texts import TextFeatures
from selip_core.text import TextEncoder

TEXTS = ["no lesion.", "high signal in the left pons.", "no lesion.", "no lesion.", "left lobe."]


@pytest.fixture(params=[True, False], ids=["frozen", "learning"])
def model(request, text_encoder):
    torch.manual_seed(0)
    encoder = TextEncoder(text_encoder, embed_dim=8, pooling="mean", frozen=request.param)
    return DualEncoder(torch.nn.Identity(), encoder).train()


@pytest.fixture
def runs(model):
    """The number of texts in each run of the backbone from here on."""
    sizes = []
    model.text_encoder.backbone.register_forward_hook(
        lambda module, inputs, output: sizes.append(len(output.last_hidden_state))
    )
    return sizes


def test_without_a_graph_distinct_texts_run_once_and_in_parts(model, runs):
    features = TextFeatures(model, TEXTS, batch_size=2)
    with evaluating(model):
        found = features(TEXTS)
    assert runs == [2, 1]
    with evaluating(model):
        torch.testing.assert_close(found, model.encode_text(TEXTS))


def test_a_frozen_backbone_runs_no_second_time(model, runs):
    features = TextFeatures(model, TEXTS)
    with evaluating(model):
        features(TEXTS)
        features(TEXTS)
    assert runs == ([3] if model.text_encoder.frozen else [3, 3])


def test_a_graph_reaches_what_is_trained(model):
    TextFeatures(model, TEXTS)(TEXTS).sum().backward()
    trained = [name for name, value in model.text_encoder.named_parameters() if value.requires_grad]
    assert [n for n, p in model.text_encoder.named_parameters() if p.grad is not None] == trained
