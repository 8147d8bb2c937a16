from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from selip_core.data import LimitedBatchSampler

cases = st.fixed_dictionaries(
    {
        "groups": st.lists(st.integers(0, 12), min_size=1, max_size=60),
        "batch_size": st.integers(1, 8),
        "max_normal": st.none() | st.integers(0, 3),
        "max_duplicates": st.none() | st.integers(1, 3),
        "seed": st.integers(0, 5),
    }
)


def is_normal(group):
    return group % 3 == 0


def placeable(case, batches):
    """Count, in plain words, what that many batches have room for."""
    limit = case["max_duplicates"] or 10**9
    sizes = Counter(case["groups"])
    kept = {group: min(size, limit * batches) for group, size in sizes.items()}
    normal = sum(size for group, size in kept.items() if is_normal(group))
    others = sum(size for group, size in kept.items() if not is_normal(group))
    allowed = 10**9 if case["max_normal"] is None else case["max_normal"] * batches
    return min(normal, allowed) + others


def make(case, **options):
    normal = [is_normal(group) for group in case["groups"]]
    return LimitedBatchSampler(normal=normal, **case, **options)


def check_limits(batches, case):
    indices = [index for batch in batches for index in batch]
    assert len(set(indices)) == len(indices)
    for batch in batches:
        groups = [case["groups"][index] for index in batch]
        assert max(Counter(groups).values()) <= (case["max_duplicates"] or 10**9)
        if case["max_normal"] is not None:
            assert sum(map(is_normal, groups)) <= case["max_normal"]


@given(cases)
def test_full_batches_within_the_limits_and_as_many_as_possible(case):
    size = case["batch_size"]
    most = max(
        (n for n in range(1, len(case["groups"]) // size + 1) if placeable(case, n) >= n * size),
        default=0,
    )
    if most == 0:
        with pytest.raises(ValueError, match="cannot be filled"):
            make(case)
        return
    sampler = make(case)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == most
        assert all(len(batch) == size for batch in batches)
        check_limits(batches, case)


@given(cases)
def test_one_more_batch_takes_what_it_can(case):
    if placeable(case, 1) == 0:
        with pytest.raises(ValueError, match="cannot be filled"):
            make(case, drop_last=False)
        return
    sampler = make(case, drop_last=False)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sum(map(len, batches)) == placeable(case, len(batches))
    assert max(map(len, batches)) <= case["batch_size"]
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    check_limits(batches, case)


def test_paper_batches():
    """400 samples, a third normal, some texts repeated: unique texts, one normal a batch."""
    case = {"groups": [index % 130 for index in range(400)]}
    case |= {"batch_size": 50, "max_normal": 1, "max_duplicates": 1}
    sampler = make(case)
    # 130 groups, 86 of them abnormal with 3 or 4 samples each; 49 abnormal ones a batch.
    assert len(sampler) == 5
    check_limits(list(sampler), case)


def test_every_sample_has_its_turn():
    sampler = LimitedBatchSampler([0] * 6 + [1], [True] * 6 + [False], batch_size=2)
    assert len(sampler) == 1
    seen = set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        seen.update(index for batch in sampler for index in batch)
    assert seen == set(range(7))


def test_seed_and_epoch_decide_alone():
    def batches(seed, epoch):
        sampler = LimitedBatchSampler(range(40), [False] * 40, batch_size=4, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert batches(0, 3) == batches(0, 3)
    assert batches(0, 3) != batches(0, 4)
    assert batches(0, 3) != batches(1, 3)


def test_without_limits_it_is_a_plain_shuffle():
    """200 normal reports and 150 pairs of equal ones: they meet as chance has it."""
    groups = [0] * 200 + [1 + index // 2 for index in range(300)]
    normal = [group == 0 for group in groups]
    sampler = LimitedBatchSampler(groups, normal, 50, max_normal=None, max_duplicates=None)
    normal_counts, pairs = [], 0
    for epoch in range(100):
        sampler.set_epoch(epoch)
        for batch in sampler:
            sizes = Counter(groups[index] for index in batch)
            normal_counts.append(sizes.pop(0, 0))
            pairs += sum(size == 2 for size in sizes.values())
    # Two of 500 share a batch of 50 with probability 49 / 499.
    assert pairs == pytest.approx(100 * 150 * 49 / 499, rel=0.1)
    mean = sum(normal_counts) / len(normal_counts)
    variance = sum((count - mean) ** 2 for count in normal_counts) / len(normal_counts)
    assert mean == pytest.approx(20)
    # Hypergeometric: 50 (2/5) (3/5) 450/499
    assert variance == pytest.approx(50 * 0.4 * 0.6 * 450 / 499, rel=0.15)


def test_data_loader_of_accelerate():
    accelerate = pytest.importorskip("accelerate")
    sampler = LimitedBatchSampler(range(20), [False] * 20, batch_size=4)
    loader = accelerate.Accelerator(cpu=True).prepare(
        DataLoader(list(range(20)), batch_sampler=sampler)
    )
    assert len(loader) == 5
    epochs = [[batch.tolist() for batch in loader] for _ in range(2)]
    assert epochs[0] != epochs[1]  # accelerate calls set_epoch
    sampler.set_epoch(1)
    assert epochs[1] == list(sampler)


def test_processes_of_accelerate_share_the_batches():
    data_loader = pytest.importorskip("accelerate.data_loader")
    sampler = LimitedBatchSampler(range(20), [False] * 20, batch_size=4)
    shards = [list(data_loader.BatchSamplerShard(sampler, 2, rank)) for rank in range(2)]
    assert [batch for pair in zip(*shards, strict=True) for batch in pair] == list(sampler)[:4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_normal": -1}, "max_normal must be at least 0 or None"),
        ({"max_duplicates": 0}, "max_duplicates must be at least 1 or None"),
        ({"normal": [True]}, "one entry a sample and at least one, got 3 and 1"),
        ({"groups": [], "normal": []}, "got 0 and 0"),
        ({"normal": [True, False, False]}, "1 groups are normal in some samples and not in others"),
        ({"batch_size": 3}, r"room for 2 of 3 samples in a batch; lower batch_size, or raise max_"),
    ],
)
def test_wrong_arguments(arguments, message):
    defaults = {"groups": ["a", "a", "b"], "normal": [False] * 3, "batch_size": 1}
    with pytest.raises(ValueError, match=message):
        LimitedBatchSampler(**(defaults | arguments))
