"""Several processes: ranks that share a batch, and workers that make its target."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from selip_core.findings import Finding, Report
from selip_core.losses import similarity_clip_loss
from selip_core.similarity import (
    SemanticSimilarity,
    SimilarityOperator,
    SyntaxSimilarity,
    dice,
    load_similarity,
)

PROGRAM = Path(__file__).with_name("processes_program.py")
WORLD = 3
IDS = {
    "equal": [["a", "b"], ["c", "a"], ["normal 1", "unknown 1"]],
    "ragged": [["a"], ["normal 1", "d", "normal 2"], ["a", "c"]],
    "one empty": [["a", "unknown 2"], [], ["e"]],
    "unknown": [["a"], ["b", "accession 7"], ["c"]],
    "other order": [["a"], ["b"], ["c"]],
}


def make_case(ids, folder):
    rows = sum(map(len, ids))
    generator = torch.Generator().manual_seed(rows)
    features = normalize(torch.randn(2, rows, 3, generator=generator, dtype=torch.float64), dim=2)
    return {
        "ids": ids,
        "images": features[0].tolist(),
        "texts": features[1].tolist(),
        "other_order": [],
        "reversed": str(folder / "reversed"),
    }


@pytest.fixture(scope="module")
def corpus():
    sites = ["pons", "insula", "eye", "pons", "sella"]
    abnormal = [
        Report(id=id, findings=[Finding(site=site, text=site + id)])
        for id, site in zip("abcde", sites, strict=True)
    ]
    normal = [Report(id=f"normal {number}", normal=True) for number in (1, 2)]
    return [*abnormal, *normal, *[Report(id=f"unknown {number}") for number in (1, 2)]]


@pytest.fixture(scope="module")
def fitted(corpus):
    return SyntaxSimilarity(dice("text"), gamma=2.0).fit(corpus)


@pytest.fixture(scope="module")
def ranks(corpus, fitted, tmp_path_factory):
    """What each rank wrote, by the name of the case."""
    folder = tmp_path_factory.mktemp("processes")
    fitted.save(folder / "fitted")
    SyntaxSimilarity(dice("text"), gamma=2.0).fit(corpus[::-1]).save(folder / "reversed")
    cases = {name: make_case(ids, folder) for name, ids in IDS.items()}
    cases["other order"]["other_order"] = [2]
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    processes = [
        subprocess.Popen([sys.executable, PROGRAM, folder, str(rank), str(WORLD)])
        for rank in range(WORLD)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0] * WORLD
    finally:
        for process in processes:
            process.kill()
    written = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(WORLD)]
    return lambda name: [rank[name] for rank in written]


@pytest.mark.parametrize("name", ["equal", "ragged", "one empty"])
def test_shares_are_the_rows_of_the_global_batch(ranks, fitted, tmp_path, name):
    case = make_case(IDS[name], tmp_path)
    ids = [id for rank in IDS[name] for id in rank]
    positions = fitted.index.positions(ids, "ids")
    shares = ranks(name)
    assert [share["columns"] for share in shares] == [positions.tolist()] * WORLD
    alone = [position for share in shares for position in share["alone"]]
    assert alone == positions.tolist()

    whole = fitted.batch(ids, dtype=torch.float64)
    rows = torch.tensor([row for share in shares for row in share["target"]], dtype=torch.float64)
    torch.testing.assert_close(rows, whole.dense())

    images, texts = (torch.tensor(case[part], dtype=torch.float64) for part in ("images", "texts"))
    images.requires_grad_()
    loss = similarity_clip_loss(images, texts, torch.tensor(5.0), target=whole)
    (gradient,) = torch.autograd.grad(loss, images)
    assert sum(share["loss"] for share in shares) / WORLD == pytest.approx(loss.item())
    parts = [torch.tensor(share["gradient"], dtype=torch.float64) for share in shares]
    gathered = torch.cat([part.reshape(-1, 3) for part in parts]) / WORLD
    torch.testing.assert_close(gathered, gradient)


def test_an_unknown_id_on_one_rank_fails_on_all(ranks):
    messages = [share["error"] for share in ranks("unknown")]
    assert "1 of 2 are not, at places [1]" in messages[1]
    assert all("ranks [1] have ids that are unknown" in messages[rank] for rank in (0, 2))
    assert "accession" not in "".join(messages)


def test_another_order_on_one_rank_fails_on_all(ranks):
    messages = [share["error"] for share in ranks("other order")]
    assert all("same reports in the same order" in message for message in messages)


def test_without_a_group_nothing_is_sent(fitted):
    assert fitted.gather_positions(["b", "a"]).tolist() == [1, 0]
    assert fitted.gather_positions(torch.tensor([3, 3])).tolist() == [3, 3]
    with pytest.raises(ValueError, match="accession 7"):
        fitted.gather_positions(["accession 7"], show_ids=True)


def embed(texts):
    return torch.tensor([[1.0, *(text.count(letter) for letter in "aeiou")] for text in texts])


class Targets:
    """A collate function: the ids of a batch, and its target by each of several similarities."""

    def __init__(self, similarities):
        self.similarities = similarities

    def __call__(self, ids):
        return ids, {name: each.batch(ids) for name, each in self.similarities.items()}


@pytest.fixture
def similarities(corpus, tmp_path):
    texts = [report.model_copy(update={"text": report.id}) for report in corpus]
    fitted = {
        "syntax": SyntaxSimilarity(dice("text")).fit(texts),
        "sparse": SyntaxSimilarity(dice("text"), top_k=1).fit(texts),
        "paper": SyntaxSimilarity.paper().fit(texts),
        "mixed": (0.5 * SyntaxSimilarity() + 0.5 * SemanticSimilarity(embed)).fit(texts),
    }
    fitted["syntax"].save(tmp_path / "fitted")
    return {**fitted, "loaded": load_similarity(tmp_path / "fitted")}


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_operators_travel_from_workers(similarities, context, monkeypatch):
    # What a spawned worker unpickles, it imports by the name that this module has here.
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    if context not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {context}")
    loader = DataLoader(
        similarities["syntax"].index.ids * 2,
        batch_size=5,
        num_workers=2,
        collate_fn=Targets(similarities),
        multiprocessing_context=context,
    )
    batches = list(loader)
    assert len(batches) == 4
    for ids, targets in batches:
        for name, target in targets.items():
            assert isinstance(target, SimilarityOperator)
            expected = similarities[name].batch(ids)
            torch.testing.assert_close(target.dense(), expected.dense())
            torch.testing.assert_close(target.row_sums(), expected.row_sums())


def test_workers_share_the_tensors_of_a_fitted_similarity(corpus, tmp_path):
    """What is pickled for a worker does not grow with the tables: they lie in shared memory."""
    from multiprocessing.reduction import ForkingPickler

    many = [Report(id=str(n), findings=[Finding(text=f"{n:06d}")]) for n in range(400)]
    SyntaxSimilarity(dice("text")).fit(many).save(tmp_path / "fitted")
    loaded = load_similarity(tmp_path / "fitted")
    copied = len(pickle.dumps(loaded))
    assert len(ForkingPickler.dumps(loaded)) < copied / 10
