"""Training programs to be read, copied and changed."""

from selip_core.recipes.config import PretrainConfig
from selip_core.recipes.config_file import read_config
from selip_core.recipes.demo import demo, demo_table
from selip_core.recipes.model import load_model
from selip_core.recipes.pretrain import pretrain
from selip_core.recipes.retrieval_comparison import compare
from selip_core.recipes.retrieve import retrieve

__all__ = [
    "PretrainConfig",
    "compare",
    "demo",
    "demo_table",
    "load_model",
    "pretrain",
    "read_config",
    "retrieve",
]
