"""What is computed again in the backward pass leaves no other trace."""

import pytest
import torch
from torch import nn

from selip_core.encoders import ResNetEncoder
from selip_core.encoders.recomputation import recomputed


def stage(norm=nn.BatchNorm3d, **options):
    torch.manual_seed(0)
    layers = [nn.Conv3d(2, 4, 3, padding=1), norm(4, **options), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Conv3d(4, 2, 1)).train()


@pytest.mark.parametrize("norm", [nn.BatchNorm3d, nn.SyncBatchNorm])
@pytest.mark.parametrize("momentum", [0.1, None], ids=["moving", "cumulative"])
def test_statistics_dropout_and_gradients_are_those_of_the_stage_alone(norm, momentum):
    alone, again = stage(norm, momentum=momentum), stage(norm, momentum=momentum)
    x = torch.randn(3, 2, 4, 5, 6)
    for step in range(3):
        torch.manual_seed(step)
        alone(x).square().sum().backward()
        torch.manual_seed(step)
        recomputed(again, x, owner=again).square().sum().backward()
    assert again[1].num_batches_tracked == 3
    assert again[1].momentum == momentum
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    for ours, theirs in zip(again.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0)


def test_an_error_in_the_backward_pass_leaves_the_statistics_as_they_were():
    module, calls = stage(), []
    counted = module[1].num_batches_tracked

    def fails_the_second_time(x):
        calls.append(None)
        if len(calls) == 2:
            raise RuntimeError("no")
        return module(x)

    loss = recomputed(fails_the_second_time, torch.randn(2, 2, 3, 3, 3), owner=module).sum()
    with pytest.raises(RuntimeError, match="no"):
        loss.backward()
    assert (module[1].momentum, module[1].num_batches_tracked) == (0.1, 1)
    assert module[1].num_batches_tracked is counted


def test_a_deep_network_keeps_a_fraction():
    kept = []
    for checkpointing in (False, True):
        encoder = ResNetEncoder(50, width=1 / 16, stem="cubic")
        encoder.gradient_checkpointing = checkpointing
        sizes = {}

        def keep(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encoder(torch.randn(2, 1, 32, 32, 32)).sum().backward()
        kept.append(sum(sizes.values()))
    assert kept[1] < kept[0] / 2


def test_evaluation_and_inference_keep_nothing_back():
    encoder = ResNetEncoder(10, width=1 / 16)
    encoder.gradient_checkpointing = True
    x = torch.randn(1, 1, 8, 32, 32)
    with torch.no_grad():
        assert not encoder(x.expand(2, -1, -1, -1, -1)).requires_grad
    assert encoder.eval()(x).requires_grad
