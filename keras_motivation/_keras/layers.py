"""Keras's layers: what they contain, how they were named, and how to change their call for some time."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras


def is_part_of_a_call(layer: Any) -> bool:
    """Whether the present call of `layer` is a part of another layer's or model's call. Keras records this privately.

    Under JAX, models in training call their layers in a `StatelessScope`, and are not recorded.
    """
    from keras.src.backend import in_stateless_scope

    return in_stateless_scope() or layer._get_call_context().entry_layer is not layer


def direct_sublayers(layer: Any) -> list[Any]:
    """The direct sublayers of `layer`, in the order in which Keras tracks them.

    Only models have `Model.layers`. There is no public way to the sublayers of a composite layer.
    """
    return layer._flatten_layers(include_self=False, recursive=False)


def layer_lists(layer: Any) -> dict[str, list[Any]]:
    """The lists of layers that are attributes of `layer`, by name.

    Keras tracks what is in them but not that it was a list; and it keeps a list of all sublayers as `_layers`.
    """
    lists = {
        name: value for name, value in vars(layer).items() if isinstance(value, list | tuple) and name != "_layers"
    }
    return {n: list(v) for n, v in lists.items() if v and all(isinstance(item, keras.Layer) for item in v)}


def all_layers(model: Any) -> list[Any]:
    """The model and every layer inside it, at any depth. `Model.layers` has only the first level."""
    return [model, *model._flatten_layers(include_self=False)]


def auto_name(layer: Any) -> tuple[str, int] | None:
    """Class and number in a name that Keras itself gave, or None for a user's name.

    `conv2d` is ("conv2d", 0), `conv2d_3` is ("conv2d", 3), and the sublayer that `Bidirectional` calls `forward_lstm_1`
    is ("forward_lstm", 1). Keras does not record who chose a name, and does not export its rule for snake case.
    """
    from keras.src.utils.naming import to_snake_case

    kind = re.escape(to_snake_case(type(layer).__name__))
    match = re.fullmatch(rf"((?:forward_|backward_)?{kind})(?:_(\d+))?", layer.name)
    return None if match is None else (match.group(1), int(match.group(2) or 0))


def normalizes_channels(layer: Any) -> bool:
    """Whether `layer` is a norm over the last axis, so that additional channels change the result of the first ones.

    Model libraries have their own classes for it, without a common base class.
    """
    known = (keras.layers.LayerNormalization, keras.layers.RMSNormalization)
    return isinstance(layer, known) or re.search(r"(Layer|RMS|Rms)_?Norm", type(layer).__name__) is not None


def is_normalization(layer: Any) -> bool:
    """Whether `layer` has constants of the data (`Normalization`), which are not weights to share."""
    return isinstance(layer, keras.layers.Normalization)


@contextlib.contextmanager
def computing_plainly(model: Any) -> Iterator[None]:
    """A context in which half-precision layers compute in single precision, and no layer is recomputed for gradients.

    A layer's policy is public, but setting it changes the policies of other layers of the model (`DTypePolicyMap`), and
    no public policy has half-precision variables and computes in single precision. A recomputed layer runs in its own
    scope, and JAX lets no tensor out of this scope.
    """
    kept = [(layer, layer._dtype_policy, layer._remat_mode) for layer in all_layers(model)]
    try:
        for layer, _, _ in kept:
            layer._remat_mode = None
            if layer.compute_dtype in ("float16", "bfloat16") and layer.quantization_mode is None:
                policy = keras.DTypePolicy("float32")
                policy._variable_dtype = layer.variable_dtype
                layer._dtype_policy = policy
        yield
    finally:
        for layer, policy, mode in kept:
            layer._dtype_policy, layer._remat_mode = policy, mode


def copy_mask(source: Any, target: Any) -> None:
    """Copies the mask of a tensor to another one. Keras stores it as a private attribute."""
    from keras.src.backend import get_keras_mask, set_keras_mask

    mask = get_keras_mask(source)
    if mask is not None and source is not target:
        set_keras_mask(target, mask)


def mask_of(tensor: Any) -> Any:
    """The mask of a tensor, or None."""
    from keras.src.backend import get_keras_mask

    return get_keras_mask(tensor)


@contextlib.contextmanager
def called_as(layer: Any, function: Callable[..., Any]) -> Iterator[None]:
    """A context in which `layer` computes `function`. Keras reads the attribute `call` of the object at every call.

    A functional model cannot be rebuilt with another layer if a composite layer contains the one to replace.
    """
    own = {"call": layer.__dict__["call"]} if "call" in layer.__dict__ else {}
    layer.__dict__["call"] = function
    try:
        yield
    finally:
        del layer.__dict__["call"]
        layer.__dict__.update(own)
