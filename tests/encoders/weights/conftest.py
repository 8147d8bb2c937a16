"""State dicts in the layouts of published weights, with random values, and files of them."""

import pytest
import torch
from safetensors.torch import save_file


def randomised(tensors, seed=0):
    """Return the tensors with values that no initialisation gives; variances stay positive."""
    generator = torch.Generator().manual_seed(seed)

    def fresh(tensor):
        if not tensor.is_floating_point():
            return tensor.clone()
        return torch.rand(tensor.shape, generator=generator) * 0.1 + 0.01

    return {name: fresh(tensor) for name, tensor in tensors.items()}


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.fixture
def save(tmp_path):
    """Write tensors as a file of safetensors and return its path."""

    def write(tensors, name="weights.safetensors", **metadata):
        path = tmp_path / name
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path, metadata)
        return path

    return write


@pytest.fixture
def monai_resnet():
    """Build MONAI's ResNet with random values in every tensor, in evaluation mode."""
    resnet = pytest.importorskip("monai.networks.nets.resnet")

    def build(depth, stem=((7, 7, 7), (2, 2, 2)), width=1 / 16, **options):
        options = {"feed_forward": False, "bias_downsample": False, "shortcut_type": "B"} | options
        block, layers, *_ = resnet.resnet_params[f"resnet{depth}"]
        network = resnet.ResNet(
            block,
            layers,
            [64, 128, 256, 512],
            n_input_channels=1,
            conv1_t_size=stem[0],
            conv1_t_stride=stem[1],
            widen_factor=width,
            **options,
        )
        network.load_state_dict(randomised(network.state_dict()))
        return network.eval()

    return build
