"""The sweeps of a back end as operators of ``torch.library``.

To a compiler an operator is one call whose result has a known shape, not a loop of blocks to trace;
to autograd the log-sum-exps have a gradient, whatever computes them.
"""

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from selip_core.losses.chunked import empty_sums
from selip_core.losses.derivative import first_derivative_only, refuse
from selip_core.losses.one_node import Sweeps
from selip_core.losses.precision import accumulation_dtype, full_precision
from selip_core.losses.wanted import Wanted

LOGSUMEXPS = "(Tensor images, Tensor texts, Tensor logit_scale) -> (Tensor, Tensor)"
GRADIENT_PRODUCTS = (
    "(Tensor images, Tensor texts, Tensor logit_scale, Tensor rows, Tensor columns, "
    "Tensor row_weights, Tensor column_weights, float own_weight, SymInt first_own, "
    "bool of_images, bool of_texts) -> (Tensor, Tensor)"
)


@final
class RegisteredSweeps:
    """The sweeps as ``torch.ops.selip_core.<name>_logsumexps`` and ``<name>_gradient_products``.

    The log-sum-exps can be differentiated once, in features and scale. Autocast does not reach
    inside. Results are in the accumulation type; matrices lie in memory as the features do.

    Args:
        name: Of the back end; it can be registered once in a process.
        sweeps: What computes.
    """

    def __init__(self, name: str, sweeps: Sweeps) -> None:
        self._logsumexps = _register(
            f"{name}_logsumexps",
            LOGSUMEXPS,
            sweeps.logsumexps,
            _vectors,
            first_derivative_only(self._gradients),
        )
        self._gradient_products = _register(
            f"{name}_gradient_products",
            GRADIENT_PRODUCTS,
            sweeps.gradient_products,
            _matrices,
            refuse,
        )

    def logsumexps(
        self,
        images: Float[Tensor, "n d"],
        texts: Float[Tensor, "m d"],
        logit_scale: Float[Tensor, ""],
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
        """Return the log-sum-exp of every row and column."""
        rows, columns = self._logsumexps(images, texts, logit_scale)
        return rows, columns

    def gradient_products(
        self,
        images: Float[Tensor, "n d"],
        texts: Float[Tensor, "m d"],
        logit_scale: Float[Tensor, ""],
        rows: Float[Tensor, " n"],
        columns: Float[Tensor, " m"],
        row_weights: Float[Tensor, " n"],
        column_weights: Float[Tensor, " m"],
        own_weight: float,
        first_own: int,
        of_images: bool = True,
        of_texts: bool = True,
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
        """Return the products of the softmaxes less the own pairs with texts and images."""
        vectors, wanted = (rows, columns, row_weights, column_weights), (of_images, of_texts)
        image_products, text_products = self._gradient_products(
            images, texts, logit_scale, *vectors, own_weight, first_own, *wanted
        )
        return image_products, text_products

    def _gradients(
        self, ctx: Any, of_rows: Tensor, of_columns: Tensor
    ) -> tuple[Tensor | None, ...]:
        """``G = diag(of_rows) P_rows + P_columns diag(of_columns)``, ``dI = tau G T``.

        Incoming gradients are often 1/N, with which a tile of low precision would underflow: the
        largest is taken out.
        """
        images, texts, scale, rows, columns = ctx.saved_tensors
        least = of_rows.new_full((1,), torch.finfo(of_rows.dtype).tiny)
        largest = torch.cat([least, of_rows, of_columns]).abs().amax()
        weights = of_rows / largest, of_columns / largest
        wanted = Wanted.of(ctx)
        products = self.gradient_products(
            *(images, texts, scale, rows, columns),
            *(*weights, 0.0, 0),
            *(wanted.of_images, wanted.of_texts),
        )
        scale_gradient = largest * wanted.scale_gradient(images, texts, *products)
        image_products, text_products = (product.mul_(largest * scale) for product in products)
        return wanted.only(
            image_products.to(images.dtype), text_products.to(texts.dtype), scale_gradient
        )


def _register(
    name: str,
    schema: str,
    sweep: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any],
) -> torch._ops.OpOverload:
    """Make an operator by hand: the first call of one by ``custom_op`` imports the compiler."""

    def undisturbed(images: Tensor, *others: Any) -> Any:
        with full_precision(images):
            return sweep(images, *others)

    full_name = f"selip_core::{name}"
    torch.library.define(full_name, schema)
    torch.library.impl(full_name, "CompositeExplicitAutograd", undisturbed)
    torch.library.register_fake(full_name, fake)
    torch.library.register_autograd(full_name, backward, setup_context=_save)
    operator: torch._ops.OpOverload = getattr(torch.ops.selip_core, name).default
    return operator


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*(value for value in (*inputs, *output) if isinstance(value, Tensor)))


def _vectors(images: Tensor, texts: Tensor, logit_scale: Tensor) -> tuple[Tensor, ...]:
    dtype = accumulation_dtype(images.dtype)
    return tuple(features.new_empty(features.shape[0], dtype=dtype) for features in (images, texts))


def _matrices(images: Tensor, texts: Tensor, *others: Any) -> tuple[Tensor, ...]:
    *_, of_images, of_texts = others
    return empty_sums(images, of_images), empty_sums(texts, of_texts)
