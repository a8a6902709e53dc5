"""PyTorch modules in a Keras model (`TorchModuleWrapper`). Their weights have another layout than those of layers."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_motivation import _keras

NEUTRAL = {"running_mean": lambda buffer: buffer * 0, "running_var": lambda buffer: buffer * 0 + 1}


def modules(model: Any) -> list[Any]:
    """The wrapped modules in a model. There are none under other backends."""
    if keras.backend.backend() != "torch":
        return []
    return [layer for layer in _keras.all_layers(model) if isinstance(layer, keras.layers.TorchModuleWrapper)]


def module_calls(model: Any) -> list[tuple[Any, Callable[..., Any]]]:
    """Calls of wrapped modules, in inference mode, with the values of their variables in a `StatelessScope`.

    A module's own call uses its own parameters, which the scope does not change.
    """
    return [(layer, functools.partial(_call, layer.module, _variables(layer))) for layer in modules(model)]


def output_axis(layer: Any, variable: Any) -> int:
    """The output axis of a module's kernel: the first axis, or the second one in a transposed convolution."""
    name = next(name for name, found in _variables(layer).items() if found is variable)
    owner = layer.module.get_submodule(name.rpartition(".")[0])
    return int(getattr(owner, "transposed", False))


def kernels(model: Any) -> Iterator[Any]:
    """The variables of wrapped modules."""
    for layer in modules(model):
        yield from layer.variables


def _variables(layer: Any) -> dict[str, Any]:
    """The Keras variable of each of a module's parameters, by the parameter's name."""
    names = {id(parameter): name for name, parameter in layer.module.named_parameters()}
    return {names[id(variable.value)]: variable for variable in layer.variables if id(variable.value) in names}


def _call(module: Any, variables: dict[str, Any], *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
    from torch.func import functional_call

    trains = module.training
    module.eval()
    # Statistics of batch norms are not variables of Keras, so they are not mapped. Both models get neutral ones here.
    tensors = {name: NEUTRAL[end](b) for name, b in module.named_buffers() if (end := name.split(".")[-1]) in NEUTRAL}
    tensors |= {name: variable.value for name, variable in variables.items()}
    try:
        return functional_call(module, tensors, args, kwargs)
    finally:
        module.train(trains)
