"""Operations on tensors and variables under PyTorch."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import keras
import torch


def write_part(value: Any, outer: Any, placement: Any) -> None:
    """Writes a number, or the base's tensor, to the places of the base's entries in a motivated tensor."""
    if placement.prefix:
        outer[placement.slices] = value
    elif isinstance(value, float):
        outer.masked_fill_(torch.as_tensor(placement.mask, device=outer.device), value)
    else:
        outer.copy_(placement.place(value, outer))


def writer(shared: list[tuple[Any, Any, Any]]) -> Callable[[], None]:
    """Returns a function that writes each base variable into its motivated variable, by its placement."""

    @torch.no_grad()
    def write() -> None:
        for base, motivated, placement in shared:
            write_part(base.value, motivated.value, placement)

    return write


def repeated(write: Callable[[], None], variables: list[Any]) -> Callable[[], None]:
    """A function that writes variables and is called again and again. Here nothing makes it faster."""
    return write


def placed(inner: Any, outer: Any, slices: tuple[slice, ...]) -> Any:
    """Returns `outer` with its first entries replaced by `inner`. Gradients flow to both."""
    result = keras.ops.convert_to_tensor(outer).clone()
    result[slices] = keras.ops.convert_to_tensor(inner)
    return result


def gradients(
    running: Callable[[list[Any]], Any], values: list[Any], variables: list[Any]
) -> tuple[list[Any], list[Any]]:
    """The gradients at `values`, which `variables` have, of the scalar from the context `running(values)`, and the
    tensors that it gives besides. The gradient is None for a variable on which the scalar does not depend."""
    leaves = [value.detach().clone().requires_grad_() for value in values]
    with running(leaves) as (scalar, tensors):
        return list(torch.autograd.grad(scalar, leaves, allow_unused=True)), [tensor.detach() for tensor in tensors]


def holding(pairs: list[tuple[Any, Any]], model: Any) -> Any:
    """A context in which variables have given values. Changes of a model's state are undone after it."""
    return keras.StatelessScope(state_mapping=pairs, collect_losses=True)


def untraced(layers: list[Any]) -> Any:
    """A context in which functions of layers are not traced. Not needed here: they do not keep temporary values."""
    return contextlib.nullcontext()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors without side effects, if the backend gains from it. Here it does not."""
    return torch.no_grad()(function)


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors without side effects for a single call. Here this gains nothing."""
    return function


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Other random generators than Keras's, as functions that get and set their state.

    Keras's `Dropout` without a `seed` uses these, and they decide the order of the data in `fit(shuffle=True)`.
    """

    def of(device: int) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        get, put = torch.cuda.get_rng_state, torch.cuda.set_rng_state
        return functools.partial(get, device), lambda state: put(torch.tensor(state, dtype=torch.uint8), device)

    cpu = torch.get_rng_state, lambda state: torch.set_rng_state(torch.tensor(state, dtype=torch.uint8))
    return [cpu, *map(of, range(torch.cuda.device_count()))]


def readable() -> bool:
    """Whether values can be read now. Here they always can."""
    return True


def mark(variable: Any) -> Any:
    """A mark that shows later whether a variable has been written; see `is_as_marked`."""
    return variable.value, variable.value._version


def is_as_marked(variable: Any, mark: Any) -> bool:
    """Whether a variable has not been written since it was marked: its tensor and its version are the same."""
    value = variable.value
    return value is mark[0] and value._version == mark[1]


def unshared(tensor: Any) -> Any:
    """A copy of a tensor, which the next layer cannot change: `x += y` in a layer writes into its input."""
    return tensor.clone()
