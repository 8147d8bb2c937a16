"""Small encoders and volumes for the tests of encoders."""

import pytest
import torch

from selip_core.encoders import create_image_encoder


@pytest.fixture
def create_small():
    """Create an encoder of any registered name, small enough for one core."""

    def create(name, **options):
        torch.manual_seed(0)
        return create_image_encoder(name, embed_dim=6, width=1 / 16, **options)

    return create
