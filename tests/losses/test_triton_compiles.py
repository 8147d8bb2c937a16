"""The Triton kernels compile for GPUs that are not there: what the interpreter cannot tell."""

import os
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="needs the package triton")
if "TRITON_INTERPRET" in os.environ:
    pytest.skip("nothing is compiled in the interpreter", allow_module_level=True)

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from selip_core.losses import triton_backward, triton_forward, triton_tiles

KERNELS = {
    "forward": triton_forward._logsumexp_kernel,
    "backward": triton_backward._gradient_kernel,
}
TYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
FEATURES = ("images", "texts", "gradient")
VECTORS = (
    "logit_scale",
    "row_partials",
    "column_partials",
    "row_logsumexps",
    "column_logsumexps",
    "row_weights",
    "column_weights",
)


def source_of(kernel: Any, dtype: torch.dtype, width: int, columns: int) -> ASTSource:
    """Give the kernel the types that its launch gives it."""
    features = torch.empty(1, width, dtype=dtype)
    fixed = triton_tiles.fixed_arguments(features, features)
    constants = {name: value for name, value in fixed.items() if name.isupper()}
    constants["BLOCK_COLUMNS"] = columns
    names = kernel.fn.arg_names
    types = dict.fromkeys(names, "i32")
    types |= {name: f"*{TYPES[dtype]}" for name in FEATURES if name in names}
    types |= {name: "*fp32" for name in VECTORS if name in names}
    types |= {"own_weight": "fp32"} if "own_weight" in names else {}
    types |= dict.fromkeys(constants, "constexpr")
    places = {(names.index(name),): value for name, value in constants.items()}
    return ASTSource(kernel.fn, types, places)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize(
    ("target", "dtype", "units"),
    [
        (GPUTarget("cuda", 80, 32), torch.float32, ("fma.rn.f32",)),
        (GPUTarget("cuda", 90, 32), torch.bfloat16, ("wgmma", "f32.bf16.bf16")),
    ],
)
def test_compiles(
    kernel: str, target: GPUTarget, dtype: torch.dtype, units: tuple[str, ...]
) -> None:
    tiles = min(triton_tiles.configurations(), key=lambda tiles: tiles.kwargs["BLOCK_COLUMNS"])
    source = source_of(KERNELS[kernel], dtype, 100, tiles.kwargs["BLOCK_COLUMNS"])
    options = {"num_warps": tiles.num_warps, "enable_fp_fusion": False}
    compiled = compile(source, target=target, options=options)
    assert all(unit in compiled.asm["ptx"] for unit in units)
    assert compiled.metadata.shared <= 99 * 1024
    assert "atom" not in compiled.asm["ptx"]
