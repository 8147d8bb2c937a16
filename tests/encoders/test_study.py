from functools import partial

import pytest
import torch

from selip_core import (
    DualEncoder,
    StudyEncoder,
    create_image_encoder,
)
from selip_core.encoders import StudyBatch, collate_studies
from selip_core.encoders.study import _sequences_to_keep

SIZE = (6, 33, 32)
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)


def volume(seed, size=SIZE):
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(seed))


STUDIES = [
    {"T1": volume(0), "FLAIR": volume(1), "DWI": volume(2)},
    {"T2": volume(3)},
    {"ADC": volume(4), "SWI": volume(5)},
]


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = StudyEncoder(
        create_image_encoder("resnet10", embed_dim=12, width=1 / 16), layers=2, heads=3
    )
    torch.nn.init.normal_(encoder.kind_embedding.weight)  # kinds that matter, as after training
    return encoder.eval()


def calls(encoder):
    """Return a list that grows by the shape of what the image encoder is given."""
    seen = []
    encoder.image_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    return seen


def test_one_pass_gives_studies_and_sequences(encoder):
    study, sequences, mask = encoder.embed(collate_studies(STUDIES))
    assert study.shape == (3, 12)
    assert sequences.shape == (3, 3, 12)
    assert mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    close(encoder(collate_studies(STUDIES)), study)
    close(sequences[0, 1], encoder.image_encoder(volume(1).unsqueeze(0))[0])
    assert not sequences[~mask].any()


@pytest.mark.parametrize("order", [["DWI", "T1", "FLAIR"], ["FLAIR", "DWI", "T1"]])
def test_order_of_sequences_does_not_matter(encoder, order):
    expected = encoder.embed(collate_studies(STUDIES[:1]))
    shuffled = [{name: STUDIES[0][name] for name in order}]
    actual = encoder.embed(collate_studies(shuffled))
    close(actual.study, expected.study)
    places = [list(STUDIES[0]).index(name) for name in order]
    close(actual.sequences, expected.sequences[:, places])


def test_padding_and_neighbours_do_not_matter(encoder):
    together = encoder(collate_studies(STUDIES))
    for study, expected in zip(STUDIES, together, strict=True):
        close(encoder(collate_studies([study]))[0], expected)


def test_what_stands_in_padding_is_never_seen(encoder):
    batch = collate_studies(STUDIES)
    volumes = torch.full((3, 4, 1, *SIZE), float("nan"))
    kinds, mask = torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, 4, dtype=torch.bool)
    for row, study in enumerate(STUDIES):
        for column, one in enumerate(study.values()):
            place = 3 - column  # other places than collate_studies takes
            volumes[row, place], mask[row, place] = one, True
            kinds[row, place] = batch.kinds[row, column]
    kinds[~mask] = torch.tensor([1, 2, 3, 4, 5, 0])
    seen = calls(encoder)
    close(
        encoder(StudyBatch.from_padded(volumes, kinds, mask, sequences=encoder.sequences)),
        encoder(batch),
    )
    assert seen == [(6, 1, *SIZE)] * 2


def test_kinds_are_told_apart_and_unknown_ones_are_one_kind(encoder):
    def embed(name):
        return encoder(collate_studies([{name: volume(0)}]))

    assert not torch.allclose(embed("T1"), embed("T2"), atol=1e-3)
    assert not torch.allclose(embed("T1"), embed("SWI"), atol=1e-3)
    close(embed("SWI"), embed("T1 after contrast"))


def test_other_kinds_say_nothing_until_they_are_trained():
    encoder = StudyEncoder(create_image_encoder("resnet10", embed_dim=8, width=1 / 16))
    assert not encoder.kind_embedding.weight[-1].any()
    assert encoder.kind_embedding.weight[:-1].any(dim=1).all()


def test_sequences_of_other_names_may_be_told_apart():
    names = ("pre", "post")
    encoder = StudyEncoder(
        create_image_encoder("resnet10", embed_dim=8, width=1 / 16), sequences=names
    )
    batch = collate_studies([{"post": volume(0), "T1": volume(1)}], encoder.sequences)
    assert batch.kinds.tolist() == [[1, 2]]
    assert encoder(batch).shape == (1, 8)


def test_a_sequence_may_come_twice(encoder):
    once = encoder(collate_studies([[("T1", volume(0))]]))
    twice = encoder(collate_studies([[("T1", volume(0)), ("T1", volume(1))]]))
    close(once, encoder(collate_studies([{"T1": volume(0)}])))
    assert not torch.allclose(once, twice, atol=1e-3)


def test_volumes_of_different_sizes_go_together(encoder):
    small, large = (5, 32, 33), (9, 40, 32)
    studies = [
        {"T1": volume(0, large), "T2": volume(1, small)},
        {"FLAIR": volume(2, small)},
    ]
    seen = calls(encoder)
    together = encoder(collate_studies(studies))
    assert seen == [(1, 1, *large), (2, 1, *small)]
    for study, expected in zip(studies, together, strict=True):
        close(encoder(collate_studies([study]))[0], expected)


def test_batch_norm_sees_the_volumes_that_there_are():
    torch.manual_seed(0)
    bare = create_image_encoder("resnet10", embed_dim=8, width=1 / 16)
    wrapped = StudyEncoder(create_image_encoder("resnet10", embed_dim=8, width=1 / 16))
    wrapped.image_encoder.load_state_dict(bare.state_dict())
    bare(torch.stack([one for study in STUDIES for one in study.values()]))
    wrapped(collate_studies(STUDIES))
    for name, buffer in bare.named_buffers():
        close(wrapped.image_encoder.get_buffer(name), buffer)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_gradients_reach_every_parameter(encoder, training):
    encoder.train(training)(collate_studies(STUDIES)).square().sum().backward()
    without = [k for k, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_loss_on_sequences_trains_the_image_encoder(encoder):
    _, sequences, mask = encoder.embed(collate_studies(STUDIES))
    sequences[mask].square().sum().backward()
    assert all(p.grad.any() for p in encoder.image_encoder.parameters())


def test_dropout_keeps_a_share_and_one_of_each_study():
    torch.manual_seed(0)
    mask = torch.zeros(2000, 5, dtype=torch.bool)
    mask[:1000] = True
    mask[1000:, 3] = True
    kept = _sequences_to_keep(mask, 0.4)
    assert kept[1000:].equal(mask[1000:])
    assert kept.any(dim=1).all()
    # Alone it would be 0.6; the one that always stays adds 0.4 ** 5 / 5.
    assert kept[:1000].float().mean() == pytest.approx(0.602, abs=0.02)
    assert not (kept & ~mask).any()


def test_dropout_leaves_sequences_out_in_training_only(encoder):
    encoder.sequence_dropout = 0.95
    batch = collate_studies(STUDIES)
    expected = encoder.embed(batch)
    seen = calls(encoder)
    torch.manual_seed(0)
    encoder.attention.train()  # the attention has no dropout; batch norm stays as it is
    encoder.training = True
    study, sequences, mask = encoder.embed(batch)
    assert mask.sum(dim=1).tolist() == [1, 1, 1]
    assert seen == [(3, 1, *SIZE)]
    close(sequences[mask], expected.sequences[mask])
    kept = [name for name, keep in zip(STUDIES[0], mask[0].tolist(), strict=True) if keep]
    encoder.eval()
    close(study[0], encoder(collate_studies([{name: STUDIES[0][name] for name in kept}]))[0])
    close(encoder(batch), expected.study)


def test_is_the_image_encoder_of_a_dual_encoder(encoder):
    model = DualEncoder(encoder, torch.nn.Linear(5, 12))
    batch = collate_studies(STUDIES)
    features, _, _ = model(batch, torch.ones(3, 5))
    close(features, torch.nn.functional.normalize(encoder(batch)))


def test_a_list_of_studies_is_a_batch(encoder):
    close(encoder(STUDIES), encoder(collate_studies(STUDIES)))


def test_image_encoder_may_be_compiled(encoder):
    expected = encoder(STUDIES)
    torch.compiler.reset()
    compiled = torch.compile(encoder.image_encoder, backend="eager")
    again = StudyEncoder(compiled, layers=2, heads=3).eval()
    weights = encoder.state_dict().items()
    prefixes = "image_encoder.", "image_encoder._orig_mod."
    again.load_state_dict({name.replace(*prefixes): weight for name, weight in weights})
    close(again(STUDIES), expected)


def test_state_dict_round_trip(encoder):
    fresh = StudyEncoder(
        create_image_encoder("resnet10", embed_dim=12, width=1 / 16), layers=2, heads=3
    ).eval()
    fresh.load_state_dict(encoder.state_dict())
    batch = collate_studies(STUDIES)
    with torch.no_grad():
        torch.testing.assert_close(fresh(batch), encoder(batch), rtol=0, atol=0)


def test_runs_under_autocast(encoder):
    batch = collate_studies(STUDIES)
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder.train()(batch)
    assert half.isfinite().all()
    half.float().sum().backward()
    assert encoder.study_token.grad.any()


def test_fast_path_of_inference_is_the_same(encoder):
    batch = collate_studies(STUDIES)
    expected = encoder(batch).detach()
    with torch.inference_mode():
        torch.testing.assert_close(encoder(batch), expected, rtol=1e-4, atol=1e-5)
