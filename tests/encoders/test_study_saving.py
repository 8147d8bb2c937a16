"""Study encoders from a folder: the same to the last bit."""

import pytest
import torch

from selip_core.encoders import ImageEncoder, StudyEncoder, collate_studies


@pytest.fixture
def encoder(create_small):
    image_encoder = create_small("resnet10", stem="cubic")
    sequences = ("T1", "SWI", "T2")
    encoder = StudyEncoder(image_encoder, sequences, layers=2, heads=3, sequence_dropout=0.25)
    return encoder.eval()


@pytest.fixture
def studies(encoder):
    torch.manual_seed(1)
    first, second = (torch.randn(1, 32, 32, 32) for _ in range(2))
    return collate_studies([{"SWI": first, "DWI": second}, {"T2": second}], encoder.sequences)


def test_round_trip_is_exact(encoder, studies, tmp_path):
    encoder.save_pretrained(tmp_path / "encoder")
    again = StudyEncoder.from_pretrained(tmp_path / "encoder")
    assert again.sequences == ("T1", "SWI", "T2")
    assert again.sequence_dropout == 0.25
    with torch.no_grad():
        for ours, theirs in zip(again.embed(studies), encoder.embed(studies), strict=True):
            assert torch.equal(ours, theirs)


def test_its_image_encoder_can_be_taken_alone(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "encoder")
    again = ImageEncoder.from_pretrained(tmp_path / "encoder")
    volumes = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(volumes), encoder.image_encoder(volumes))


def test_card_tells_the_sequences(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "encoder")
    card = (tmp_path / "encoder" / "README.md").read_text(encoding="utf-8")
    assert "| Sequences told apart | T1, SWI, T2 |" in card
    assert "| Image encoder | resnet10" in card
