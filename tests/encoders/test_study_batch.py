"""Batches of studies on their way: through loaders, pinning, devices, compilation, chunks."""

from functools import partial

import pytest
import torch
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from selip_core import (
    DualEncoder,
    StudyEncoder,
    cached_contrastive_step,
    create_image_encoder,
    similarity_clip_loss,
)
from selip_core.encoders import StudyBatch, collate_studies

NAMES = ("FLAIR", "T1")
VOLUMES = torch.randn(5, 1, 6, 33, 32, generator=torch.Generator().manual_seed(0))
STUDIES = [
    {"T1": VOLUMES[0], "FLAIR": VOLUMES[1]},
    {"FLAIR": VOLUMES[2]},
    {"SWI": VOLUMES[3], "T1": VOLUMES[4][:, :5]},
]
collate = partial(collate_studies, sequences=NAMES)
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    image_encoder = create_image_encoder("resnet10", embed_dim=12, width=1 / 16)
    encoder = StudyEncoder(image_encoder, sequences=NAMES, heads=3)
    torch.nn.init.normal_(encoder.kind_embedding.weight)  # kinds that matter, as after training
    return encoder.eval()


@pytest.fixture
def pinned(monkeypatch):
    """Pin without a GPU: what is done with what holds the tensors is the same."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    return pin_memory


def listed(batch):
    """Return the batch as older releases of torch pinned it."""
    return StudyBatch(*(list(part) if isinstance(part, tuple) else part for part in batch))


def test_tells_its_sequences():
    assert collate(STUDIES).sequences == NAMES
    assert collate_studies(STUDIES, [*NAMES]).sequences == NAMES


def test_volumes_of_one_size_and_type_are_one_tensor():
    studies = [{"T1": VOLUMES[0], "FLAIR": VOLUMES[1].half()}, {"T1": VOLUMES[2]}]
    assert [(*v.shape[:1], v.dtype) for v in collate(studies).volumes] == [
        (2, torch.float32),
        (1, torch.float16),
    ]


def test_is_moved_as_a_whole():
    batch = collate(STUDIES).to("meta", non_blocking=True)
    tensors = [*batch.volumes, *batch.places, batch.kinds, batch.mask]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert batch.sequences == NAMES


def test_is_moved_by_accelerate(encoder):
    batch = send_to_device({"studies": collate(STUDIES)}, torch.device("cpu"))["studies"]
    assert isinstance(batch, StudyBatch)
    close(encoder(batch), encoder(STUDIES))


@pytest.mark.parametrize("rebuilt", [lambda batch: batch, listed], ids=["tuples", "lists"])
def test_is_pinned(encoder, pinned, rebuilt):
    batch = rebuilt(pinned((collate(STUDIES), ["a report"]))[0])
    assert isinstance(batch, StudyBatch)
    close(encoder(batch), encoder(STUDIES))
    close(encoder(batch.to("cpu")), encoder(STUDIES))


@pytest.mark.parametrize("workers", [0, 1])
def test_is_what_a_data_loader_hands_over(encoder, workers):
    first, second = DataLoader(STUDIES, batch_size=2, collate_fn=collate, num_workers=workers)
    assert first.mask.sum(dim=1).tolist() == [2, 1]
    assert second.kinds.tolist() == [[2, 1]]
    close(torch.cat([encoder(first), encoder(second)]), encoder(STUDIES))


def test_is_taken_by_a_compiled_encoder(encoder):
    expected = encoder(STUDIES)
    torch.compiler.reset()
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    close(compiled(collate(STUDIES)), expected)
    with pytest.raises(Exception, match="the batch must be of the encoder's sequences"):
        compiled(collate_studies(STUDIES))


def test_lists_of_studies_are_cut_into_chunks_by_gradient_caching(encoder):
    model = DualEncoder(encoder, torch.nn.Linear(5, 12))
    texts = torch.randn(3, 5)
    similarity_clip_loss(*model(STUDIES, texts)).backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    cached_contrastive_step(model, (STUDIES, texts), similarity_clip_loss, chunk_size=2)
    for name, parameter in model.named_parameters():
        close(parameter.grad, expected[name])


def test_gradient_caching_refuses_to_cut_a_batch(encoder):
    studies = [{"T1": VOLUMES[0]}, {"FLAIR": VOLUMES[1]}]  # every tensor of it has two rows
    model = DualEncoder(encoder, torch.nn.Linear(5, 12))
    step = partial(cached_contrastive_step, loss=similarity_clip_loss, chunk_size=1)
    with pytest.raises(ValueError, match=r"must be a tensor or a list .*, got str"):
        step(model, (collate(studies), torch.randn(2, 5)))
