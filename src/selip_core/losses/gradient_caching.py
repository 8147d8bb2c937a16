"""One step of a batch too large for its activations: gradients of features, kept and sent on."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from selip_core.losses.cached_step_checks import (
    check_batch_statistics,
    check_equal_chunks,
    check_synchronised,
    check_wrappers,
)
from selip_core.losses.precision import full_precision
from selip_core.losses.row_chunks import Rows, named_parts, row_chunks

Outputs = dict[Any, Any]


def cached_contrastive_step(
    model: nn.Module,
    batch: Rows,
    loss: Callable[..., Tensor],
    chunk_size: int,
    *,
    backward: Callable[[Tensor], object] = Tensor.backward,
) -> Float[Tensor, ""]:
    r"""Forward and backward of a contrastive loss with the activations of one chunk at a time.

    The loss :math:`\ell` needs the features :math:`z` of the whole batch, its gradient

    .. math::

        \frac{d\ell}{d\theta} = \sum_{\text{chunks } c}
        \left(\frac{\partial z_c}{\partial\theta}\right)' \frac{\partial\ell}{\partial z_c}

    does not: all chunks are embedded without a graph, the loss gives the gradients of the features,
    and each chunk is embedded again, with a graph, to send its own on. That is one forward more and
    the same gradients, as long as no layer looks at several rows at once.

    The model is called twice with every chunk, under the caller's autocast and with the same random
    numbers, so that dropout is the same; hooks run twice and buffers are updated twice.

    Args:
        model: From rows to features ``(n, d)``, logit scale and whatever else the loss takes, such
            as a logit bias: a mapping (open_clip with ``output_dict``) is given to the loss by
            name, a tuple (:class:`~selip_core.DualEncoder`) in its order. What has two or more
            dimensions is rows, and joined; anything else belongs to the model, not to a chunk, and
            is taken once.
        batch: What the model takes. A tuple, or a list as data loaders give it, holds positional
            arguments, a mapping named ones. These are tensors and lists with a row for each pair,
            or tuples and mappings of such.
        loss: From outputs to a scalar, such as :class:`SimilarityCLIPLoss` with the target (and
            mask, and group) of the whole batch bound by :func:`functools.partial`.
        chunk_size: Rows that are embedded at once. The last chunk may be smaller.
        backward: Starts the gradients from the loss: ``accelerator.backward``, or for a gradient
            scaler ``lambda loss: scaler.scale(loss).backward()``. Called once.

    Returns:
        The loss, detached and not scaled. Gradients have been added to ``.grad``.

    Raises:
        ValueError: If a layer of batch normalisation uses statistics of the batch, the parts of the
            batch differ in length or have none, ``chunk_size`` is less than 1, or model or loss
            return something else than described above, or nothing with a gradient; or if a
            DistributedDataParallel anywhere in the model has ``static_graph`` or
            ``delay_all_reduce_named_params``, with which torch cannot wait for the last chunk; or
            if the model is sharded, and its ranks have unequally many chunks.
        RuntimeError: If DistributedDataParallel is left without a gradient that it waits for: a
            parameter that some chunks do not use needs its ``find_unused_parameters=True``.

    With DistributedDataParallel gradients are synchronised once, in the last chunk, and ranks may
    have any number of rows. The wrapper may be around the model, around its towers, or inside
    other wrappers. ``fully_shard`` reduces the gradients of every chunk, which is right and never
    holds them whole, but its ranks must have equally many chunks.

    Example:
        >>> from functools import partial
        >>> from selip_core import DualEncoder, SimilarityCLIPLoss
        >>> model = DualEncoder(nn.Linear(6, 4), nn.Linear(5, 4))
        >>> images, texts = torch.randn(100, 6), torch.randn(100, 5)
        >>> loss = partial(SimilarityCLIPLoss(), target=torch.eye(100))
        >>> value = cached_contrastive_step(model, (images, texts), loss, chunk_size=32)
        >>> model.log_logit_scale.grad is not None
        True

    Source: GradCache (arXiv 2101.06983), section 3. There the scale is the loss's own; here it is
    an output of the model.
    """
    check_batch_statistics(model)
    check_wrappers(model)
    chunks = row_chunks(batch, chunk_size)
    check_equal_chunks(model, len(chunks))
    with torch.no_grad():
        embedded = [_Embedded.of(model, chunk) for chunk in chunks]
    # Casts of weights that older releases of torch cached without a graph would never get one.
    torch.clear_autocast_cache()
    value = _loss_of(loss, [chunk.outputs for chunk in embedded])
    with full_precision(value):
        backward(value)
    for number, (chunk, first) in enumerate(zip(chunks, embedded, strict=True), start=1):
        with ExitStack() as contexts:
            if number < len(chunks):
                for wrapper in _wrappers(model):
                    contexts.enter_context(wrapper.no_sync())
            with first.random_state.replayed():
                outputs = _outputs(model, chunk)
            _send_on(outputs, first.outputs)
    check_synchronised(model)
    return value.detach()


@final
@dataclass(frozen=True)
class _RandomState:
    """Where the random numbers stand on the CPU and on the devices of some tensors."""

    cpu: Tensor
    device_type: str
    devices: list[int]
    states: list[Tensor]

    @classmethod
    def now(cls, tensors: dict[torch.device, Tensor]) -> Self:
        types = [device.type for device in tensors if device.type != "cpu"]
        devices, states = get_device_states(*tensors.values())
        return cls(torch.get_rng_state(), types[0] if types else "cuda", devices, states)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw the same numbers again, and go on as if they had not been drawn."""
        with torch.random.fork_rng(self.devices, device_type=self.device_type):
            torch.set_rng_state(self.cpu)
            set_device_states(self.devices, self.states, device_type=self.device_type)
            yield


@final
@dataclass(frozen=True)
class _Embedded:
    """A chunk embedded without a graph.

    Attributes:
        outputs: Of the model; tensors are leaves that the loss gives a gradient.
        random_state: From before the model was called.
    """

    outputs: Outputs
    random_state: _RandomState

    @classmethod
    def of(cls, model: nn.Module, chunk: Rows) -> Self:
        given = (part for _, part in named_parts(chunk) if isinstance(part, Tensor))
        tensors = {tensor.device: tensor for tensor in chain(model.parameters(), given)}
        random_state = _RandomState.now(tensors)
        outputs = _outputs(model, chunk)
        return cls({name: _leaf(output) for name, output in outputs.items()}, random_state)


def _leaf(output: Any) -> Any:
    if not isinstance(output, Tensor):
        return output
    # A copy, or a view such as a first token would keep all that it looks at.
    return output.detach().clone().requires_grad_(output.is_floating_point())


def _outputs(model: nn.Module, chunk: Rows) -> Outputs:
    """Call the model; its outputs by name, or by position."""
    if isinstance(chunk, Mapping):
        outputs = model(**chunk)
    else:
        outputs = model(*chunk) if isinstance(chunk, tuple) else model(chunk)
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, tuple | list):
        return dict(enumerate(outputs))
    raise ValueError(
        "model must return image features, text features and logit scale as a mapping or a tuple, "
        f"got {type(outputs).__name__}"
    )


def _loss_of(loss: Callable[..., Any], chunks: list[Outputs]) -> Tensor:
    """Return the loss of the joined outputs."""
    joined = chunks[-1] | {
        name: torch.cat([chunk[name] for chunk in chunks])
        for name, output in chunks[0].items()
        if _is_rows(name, output)
    }
    by_name = all(isinstance(name, str) for name in joined)
    value = loss(**joined) if by_name else loss(*joined.values())
    if not isinstance(value, Tensor) or value.dim():
        raise ValueError(
            f"loss must return a scalar tensor, got {type(value).__name__}; ask for statistics or "
            "a dictionary elsewhere"
        )
    return value


def _is_rows(name: object, output: Any) -> bool:
    if not isinstance(output, Tensor) or (output.numel() == 1 and output.dim() < 2):
        return False
    if output.dim() < 2:
        raise ValueError(
            "model must return features with two or more dimensions, and scale and bias with one "
            f"element, got shape {tuple(output.shape)} as output {name!r}"
        )
    return True


def _send_on(outputs: Outputs, leaves: Outputs) -> None:
    """Continue the gradients that the loss gave to the leaves into what made the outputs."""
    tensors = {name: output for name, output in outputs.items() if isinstance(output, Tensor)}
    if not any(output.requires_grad for output in tensors.values()):
        raise ValueError(
            "model must have an output that needs a gradient, got none: are all its parameters "
            "frozen, or its outputs detached?"
        )
    # What belongs to the model has its gradient in the last chunk only, so that it counts once.
    sent = [
        name
        for name, output in tensors.items()
        if output.requires_grad and leaves[name].grad is not None
    ]
    with full_precision(next(iter(tensors.values()))):
        torch.autograd.backward(
            [tensors[name] for name in sent], [leaves[name].grad for name in sent]
        )


def _wrappers(module: nn.Module) -> Iterator[Any]:
    """Yield the outermost modules that keep gradients to their process in a context."""
    if hasattr(module, "no_sync"):
        yield module
    else:
        for child in module.children():
            yield from _wrappers(child)
