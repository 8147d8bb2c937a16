"""Vectors of several processes, put together."""

import torch
import torch.distributed as dist

from selip_core.similarity.operators import Index

_FAILED = -1


def gather_vectors(own: Index | None, corpus: int, group: "dist.ProcessGroup | None") -> Index:
    """Return the int64 vectors of all ranks in rank order, on the CPU; every rank must call it.

    Two exchanges: of the lengths, and of the vectors, padded to the longest.

    Args:
        own: Of any length; ``None`` if this rank cannot go on, which then fails on all ranks.
        corpus: A number that must agree on all ranks.
        group: The processes; ``None``: this one alone, and nothing is sent.

    Raises:
        ValueError: If a rank cannot go on, or the numbers differ.
    """
    if group is None:
        assert own is not None
        return own
    device = device_of(group)
    length = _FAILED if own is None else own.shape[0]
    told = _all_gather(torch.tensor([length, corpus], device=device), group)
    lengths = [int(rank[0]) for rank in told]
    failed = [rank for rank, length in enumerate(lengths) if length == _FAILED]
    if failed:
        raise ValueError(f"positions cannot be gathered: ranks {failed} have ids that are unknown")
    if any(int(rank[1]) != corpus for rank in told):
        raise ValueError(
            "all ranks must have fitted the same reports in the same order, and they have not; "
            "fit once, save, and load the same folder on every rank"
        )
    assert own is not None
    sent = torch.zeros(max(lengths), dtype=torch.int64, device=device)
    sent[: own.shape[0]] = own.to(device)
    received = _all_gather(sent, group)
    parts = [part[:length] for part, length in zip(received, lengths, strict=True)]
    return torch.cat(parts).cpu()


def device_of(group: "dist.ProcessGroup") -> torch.device:
    """Return where the tensors must lie that this group sends: nccl sends from the GPU only."""
    if "cpu:" in dist.get_backend_config(group):
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _all_gather(sent: Index, group: "dist.ProcessGroup") -> list[Index]:
    received = [torch.empty_like(sent) for _ in range(dist.get_world_size(group))]
    dist.all_gather(received, sent, group=group)
    return received
