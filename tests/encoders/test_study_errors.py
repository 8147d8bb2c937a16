"""What study encoders and their batches refuse, and in which words."""

import numpy as np
import pytest
import torch

from selip_core import StudyEncoder, create_image_encoder
from selip_core.encoders import StudyBatch, collate_studies
from selip_core.errors import DataError

GOOD = torch.zeros(1, 6, 33, 32)


def image_encoder():
    return create_image_encoder("resnet10", embed_dim=8, width=1 / 16)


@pytest.fixture
def encoder():
    return StudyEncoder(image_encoder()).eval()


def refused(call, *arguments):
    """Return where a batch is wrong, and what is told of it."""
    with pytest.raises(DataError, match="studies and places count from 0") as caught:
        call(*arguments)
    return {problem.where: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, "heads must divide the 8 channels, got 5"),
        ({"layers": 0}, "layers must be a whole number of at least 1, got 0"),
        ({"sequence_dropout": 1.0}, "sequence_dropout must be at least 0 and below 1, got 1.0"),
        ({"sequence_dropout": "a"}, "sequence_dropout must be at least 0 and below 1, got 'a'"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        StudyEncoder(image_encoder(), **options)


@pytest.mark.parametrize(
    "other", [torch.nn.Flatten(), None, GOOD], ids=["module", "none", "tensor"]
)
def test_refuses_what_is_no_image_encoder(other):
    with pytest.raises(ValueError, match=r"image_encoder must be an ImageEncoder, .* got [FNT]"):
        StudyEncoder(other)


@pytest.mark.parametrize(
    "sequences",
    [
        "T1",
        (),
        ("T1", ""),
        ("T1", " "),
        ("T1", 2),
        ("T1", ["T2"]),
        ("T1", "T1"),
        {"T1"},
        None,
    ],
    ids=str,
)
def test_refuses_sequences_that_are_not_different_names(sequences):
    mask, kinds = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.long)
    for call in (
        lambda: StudyEncoder(image_encoder(), sequences),
        lambda: collate_studies([{"T1": GOOD}], sequences),
        lambda: StudyBatch.from_padded(GOOD[None, None], kinds, mask, sequences=sequences),
    ):
        with pytest.raises(ValueError, match=r"a tuple of one or more names, each once, .* got "):
            call()


@pytest.mark.parametrize("name", ["other", "Other"])
def test_refuses_to_tell_the_kind_of_all_others_apart(name):
    with pytest.raises(ValueError, match='"other" is the kind of every name that is not in seq'):
        StudyEncoder(image_encoder(), ("T1", name))
    assert collate_studies([{name: GOOD, "SWI": GOOD}], ("T1",)).kinds.tolist() == [[1, 1]]


@pytest.mark.parametrize("names", [("pre", "post"), ("T2", "T1", "FLAIR", "DWI", "ADC")])
def test_refuses_batches_of_other_sequences(encoder, names):
    message = r"must be of the encoder's sequences \('T1', .*, got .*partial\(collate_studies, seq"
    with pytest.raises(ValueError, match=message):
        encoder(collate_studies([{"T1": GOOD}], names))


@pytest.mark.parametrize(
    ("studies", "got"),
    [({"T1": GOOD}, "dict"), (GOOD, "Tensor"), ("T1", "str"), (None, "NoneType")],
)
def test_refuses_what_is_no_list_of_studies(encoder, studies, got):
    for call in (encoder, collate_studies):
        with pytest.raises(ValueError, match=rf"a list of studies, got {got}: a single study"):
            call(studies)


def test_refuses_a_batch_without_studies():
    with pytest.raises(ValueError, match="at least one study, got none"):
        collate_studies([])


def test_tells_all_studies_that_are_wrong_at_once():
    studies = [
        {"T1": GOOD, "FLAIR": None, "name of a patient": np.zeros(GOOD.shape)},
        {},
        {"T1": GOOD},
        [("ADC", GOOD.short()), ("T2", GOOD[0]), GOOD, {"T2": GOOD}],
        GOOD,
        {7: GOOD},
    ]
    assert refused(collate_studies, studies) == {
        "study 0, place 1 (FLAIR)": f"{VOLUME}, got None: leave out what is missing",
        "study 0, place 2 (other)": f"{VOLUME}, got ndarray",
        "study 1": "expected at least one sequence, got none",
        "study 3, place 0 (ADC)": f"{VOLUME}, got torch.int16 of shape (1, 6, 33, 32)",
        "study 3, place 1 (T2)": f"{VOLUME}, got torch.float32 of shape (6, 33, 32)",
        "study 3, place 2": f"{PAIR}, got torch.float32 of shape (1, 6, 33, 32)",
        "study 3, place 3": f"{PAIR}, got dict",
        "study 4": f"{STUDY}, got Tensor",
        "study 5, place 0": f"{PAIR}, got (int, Tensor)",
    }


STUDY = "expected volumes by the name of their sequence, or pairs (name, volume)"
PAIR = "expected a name and a volume"
VOLUME = "expected a floating-point tensor (channel, depth, height, width)"


def test_a_single_study_of_pairs_is_no_list_of_studies():
    assert refused(collate_studies, [("T1", GOOD)]) == {
        "study 0, place 0": f"{PAIR}, got str",
        "study 0, place 1": f"{PAIR}, got torch.float32 of shape (1, 6, 33, 32)",
    }


def test_tells_all_volumes_that_the_encoder_does_not_take_at_once(encoder):
    two_channels = GOOD.expand(2, -1, -1, -1)
    studies = [
        {"T1": GOOD, "FLAIR": two_channels},
        {"T2": GOOD.double()},
        {"name of a patient": two_channels, "ADC": GOOD[..., :4]},
    ]
    told = refused(encoder, studies)
    shape = "volumes must have shape (batch, 1, depth, height, width)"
    double = "volumes must be torch.float32, as the weights are, got torch.float64"
    assert told.pop("study 1, place 0 (T2)").startswith(double)
    assert [where for where, message in told.items() if message.startswith(shape)] == [
        "study 0, place 1 (FLAIR)",
        "study 2, place 0 (other)",
        "study 2, place 1 (ADC)",
    ]
    assert "got (2, 2, 6, 33, 32); the nearest" in told["study 0, place 1 (FLAIR)"]


def test_tells_which_volume_is_too_lone_for_batch_normalisation(encoder):
    lone = torch.zeros(1, 6, 20, 30)  # one voxel of the coarsest map
    studies = [{"T1": GOOD, "FLAIR": lone}, {"T1": GOOD}]
    assert encoder(studies).shape == (2, 8)
    told = refused(encoder.train(), studies)
    assert [*told] == ["study 0, place 1 (FLAIR)"]
    assert "normalises over the batch in training" in told["study 0, place 1 (FLAIR)"]
    encoder.image_encoder.eval()
    assert encoder(studies).shape == (2, 8)


def test_double_precision_is_taken_by_an_encoder_of_it(encoder):
    assert encoder.double()([{"T1": GOOD.double()}]).dtype == torch.float64


def test_tells_all_places_that_are_wrong_at_once(encoder):
    mask = torch.tensor([[True, True], [False, False], [True, False]])
    kinds = torch.tensor([[0, 6], [0, 0], [-1, 5]])
    volumes = GOOD.expand(3, 2, -1, -1, -1, -1)
    batch = StudyBatch.from_padded(volumes, kinds, mask, sequences=encoder.sequences)
    kind = f"expected a kind from 0 to 5, the last for any sequence not in {encoder.sequences}"
    assert refused(encoder, batch) == {
        "study 1": "expected at least one sequence, got none",
        "study 0, place 1": f"{kind}, got 6",
        "study 2, place 0": f"{kind}, got -1",
    }


def test_refuses_padded_shapes_that_do_not_agree():
    kinds, mask = torch.zeros(2, 2, dtype=torch.long), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"must agree .* got \(2, 3\), \(2, 2\) and \(2, 3\)"):
        StudyBatch.from_padded(torch.zeros(2, 3, 1, 4, 4, 4), kinds, mask, sequences=("T1",))


def test_whatever_is_left_out_a_batch_that_is_taken_stays_so():
    torch.manual_seed(0)
    encoder = StudyEncoder(image_encoder(), sequence_dropout=0.5)
    lone = torch.randn(2, 1, 6, 20, 30)  # one voxel of the coarsest map each
    studies = [{"T1": GOOD, "T2": lone[0], "FLAIR": lone[1]}, {"T1": GOOD}]
    left = {tuple(encoder.embed(studies).mask[0].tolist()) for _ in range(60)}
    # With one of the two small volumes there would be one value: then nothing is left out.
    assert left == {(True, False, False), (False, True, True), (True, True, True)}


def test_tells_which_slices_are_too_lone_for_batch_normalisation():
    pytest.importorskip("timm")
    slicewise = create_image_encoder(
        "slicewise", embed_dim=8, model="test_resnet", slices_at_once=2
    )
    encoder = StudyEncoder(slicewise)
    whole, lone = torch.zeros(1, 4, 32, 32), torch.zeros(1, 3, 32, 32)
    told = refused(encoder, [{"T1": whole, "FLAIR": lone}])
    assert [*told] == ["study 0, place 1 (FLAIR)"]
    assert "one slice, the last of 3 by slices_at_once=2" in told["study 0, place 1 (FLAIR)"]


@pytest.mark.parametrize(
    ("kinds", "mask", "message"),
    [
        (torch.int64, torch.int64, "mask must be a tensor of torch.bool, got torch.int64"),
        (torch.float32, torch.bool, "kinds must be a tensor of torch.int64, got torch.float32"),
        (torch.int32, torch.bool, "kinds must be a tensor of torch.int64, got torch.int32"),
    ],
)
def test_refuses_kinds_and_masks_of_other_types(kinds, mask, message):
    volumes = torch.zeros(2, 2, 1, 4, 4, 4)
    ones = torch.ones(2, 2)
    with pytest.raises(ValueError, match=message):
        StudyBatch.from_padded(volumes, ones.to(kinds), ones.to(mask), sequences=("T1",))
