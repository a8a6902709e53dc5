"""The private parts of Keras this package leans on, all in one place.

Each function says why no public call serves. `test_private_keras.py`, `test_probe.py` and `test_selection.py` fail when
Keras changes one of them.
"""

import contextlib
import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras


def _metrics_list() -> Any:
    try:
        from keras.src.trainers.compile_utils import MetricsList
    except ImportError:  # then callbacks need `mode` again, and no more than that
        return keras.metrics.Metric
    return MetricsList


# A metric that holds others, in `metrics`. `EarlyStopping` and the like look into these for the direction of what they
# monitor under `mode="auto"`; Keras leaves no public way to tell them.
MetricsList: Any = _metrics_list()


def directions(model: Any) -> dict[str, str]:
    """By the name of each metric that was given to `compile`: "up" or "down", where Keras knows which is better.

    There is no public name for it.
    """
    compiled = model._compile_metrics
    found = {"loss": "down"}
    for metric in compiled.metrics if compiled is not None else []:
        if hasattr(metric, "_direction"):
            found[metric.name] = metric._direction
    return found


def flatten_metrics_in_order(metrics: list[Any], logs: dict[str, Any]) -> Any:
    """Results as the list, or the number, that a model with these metrics returns without `return_dict`.

    Keras decides on the order in a method of the model, which asks it for nothing but its metrics.
    """
    return keras.Model._flatten_metrics_in_order(types.SimpleNamespace(metrics=metrics), logs)


def own_loss_and_metrics(model: Any) -> list[Any]:
    """The metrics of a compiled model without those of its layers, which `Model.metrics` holds too."""
    return model._get_own_metrics()


def is_part_of_a_call(layer: Any) -> bool:
    """Whether the present call of `layer` is a part of another layer's or model's call. Keras notes it for itself.

    Under JAX, models in training call their layers in a `StatelessScope`, and appear in no note.
    """
    from keras.src.backend import in_stateless_scope

    return in_stateless_scope() or layer._get_call_context().entry_layer is not layer


def writes_legacy_hdf5() -> bool:
    """Whether Keras is writing a model's config into a file of the old format, `.h5`. It tells nobody else."""
    from keras.src.legacy.saving import saving_options

    return bool(saving_options.global_state.get_global_attribute("use_legacy_config", False))


def direct_sublayers(layer: Any) -> list[Any]:
    """The layers held directly by `layer`, in the order Keras tracks them.

    `Model.layers` exists only on models; a composite layer's sublayers have no public accessor.
    """
    return layer._flatten_layers(include_self=False, recursive=False)


def all_layers(model: Any) -> list[Any]:
    """The model and every layer inside it, at any depth. `Model.layers` is the first level only."""
    return [model, *model._flatten_layers(include_self=False)]


def auto_name(layer: Any) -> tuple[str, int] | None:
    """Kind and running number in a name that Keras itself gave, or None for a user's name.

    `conv2d` is ("conv2d", 0), `conv2d_3` is ("conv2d", 3), and the sublayer that `Bidirectional` calls `forward_lstm_1`
    is ("forward_lstm", 1). Keras keeps no record of who chose a name, and its snake-case rule is not exported.
    """
    from keras.src.utils.naming import to_snake_case

    kind = re.escape(to_snake_case(type(layer).__name__))
    match = re.fullmatch(rf"((?:forward_|backward_)?{kind})(?:_(\d+))?", layer.name)
    return None if match is None else (match.group(1), int(match.group(2) or 0))


def takes_training(model: Any) -> bool:
    """Whether the model's `call` has an argument `training`; Keras passes it to those models only."""
    return "training" in inspect.signature(model.call).parameters


def normalizes_channels(layer: Any) -> bool:
    """Whether `layer` is a norm over the last axis, so that further channels change the result of the first ones.

    Model zoos have classes of their own for it, with no common base class.
    """
    known = (keras.layers.LayerNormalization, keras.layers.RMSNormalization)
    return isinstance(layer, known) or re.search(r"(Layer|RMS|Rms)_?Norm", type(layer).__name__) is not None


@contextlib.contextmanager
def computing_plainly(model: Any) -> Iterator[None]:
    """While this lasts, layers that compute in half precision do so in single, and none is recomputed for its gradient.

    A layer's policy is public, but to set it changes the policies of a model's other layers (`DTypePolicyMap`), and no
    public policy has half-precision variables and computes in single. What is recomputed runs in a scope of its own,
    out of which JAX lets no tensor.
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
    """Gives a tensor the mask that another carries, which Keras keeps as a private attribute."""
    from keras.src.backend import get_keras_mask, set_keras_mask

    mask = get_keras_mask(source)
    if mask is not None and source is not target:
        set_keras_mask(target, mask)


@contextlib.contextmanager
def called_as(layer: Any, function: Callable[..., Any]) -> Iterator[None]:
    """While this lasts, `layer` computes `function`. Keras looks `call` up on the object at every call.

    A functional model cannot be rebuilt around another layer if composite layers hold the one to replace.
    """
    own = {"call": layer.__dict__["call"]} if "call" in layer.__dict__ else {}
    layer.__dict__["call"] = function
    try:
        yield
    finally:
        del layer.__dict__["call"]
        layer.__dict__.update(own)


def output_activations(model: Any) -> list[tuple[Any, Any]]:
    """Layers that make an output of a functional or Sequential model with softmax or sigmoid, and which of the two."""
    saturating = (keras.activations.softmax, keras.activations.sigmoid)
    makers = {id(m): m for m in map(producer, keras.tree.flatten(outputs_struct(graph(model)))) if m is not None}
    return [(m, m.activation) for m in makers.values() if getattr(m, "activation", None) in saturating]


@contextlib.contextmanager
def linear_outputs(model: Any) -> Iterator[None]:
    """While this lasts, the layers of `output_activations` apply none."""
    kept = output_activations(model)
    try:
        for layer, _ in kept:
            layer.activation = keras.activations.linear
        yield
    finally:
        for layer, activation in kept:
            layer.activation = activation


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """`model.compute_loss`, also where a subclass overrides it without the `training` argument, as Keras allows."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def loss_tracker(model: Any) -> Any:
    """The mean behind the log entry `loss`. `Model.metrics` holds it too, but a subclass may override that list."""
    return model._loss_tracker


def output_loss_variables(model: Any) -> list[Any]:
    """Variables of the means behind the log entries of single outputs' losses, which `compute_loss` updates."""
    return [v for metric in getattr(model._compile_loss, "metrics", []) for v in metric.variables]


def optimizer_steps(optimizer: Any) -> Any:
    """Variable that counts the batches whose gradients an optimizer has taken.

    The public `iterations` counts updates of the weights, which under `gradient_accumulation_steps` are fewer.
    """
    return optimizer._iterations


def optimized_variables(optimizer: Any) -> list[Any]:
    """The variables that a built optimizer updates. `Optimizer.variables` are its own."""
    return optimizer._trainable_variables


def stock_class(optimizer: Any) -> str | None:
    """Name of an optimizer's class if it is Keras's own, else None. Under PyTorch, subclasses of the public ones."""
    kind = type(optimizer)
    return kind.__name__ if kind.__module__.startswith("keras.src.") else None


def optimizer_map(optimizer: Any) -> Callable[[Any], Any]:
    """What tells a `MultiOptimizer` which optimizer a variable gets: the user's callable or map, which it keeps."""
    return optimizer._optimizer_map


def update_steps(optimizer: Any) -> Callable[..., None]:
    """The method `(gradients, variables, learning_rate)` by which an optimizer updates several variables.

    Each backend has its own way from there to the public `update_step`, which PyTorch's do not come by at all.
    """
    return type(optimizer)._backend_update_step.__get__(optimizer)


@contextlib.contextmanager
def method_replaced(optimizer: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """While this lasts, the optimizer has `function` for a method.

    Replicas of a `tf.distribute` strategy come by here in turns, so that one may leave before another does: neither
    restores what it has found. Not by `setattr`, where optimizers look for variables to track.
    """
    vars(optimizer)[name] = function
    try:
        yield
    finally:
        vars(optimizer).pop(name, None)


def momentum_product(optimizer: Any) -> Any:
    """Variable of `Nadam`: the product of its momenta so far, which it keeps beside the count of its updates."""
    return getattr(optimizer, "_u_product", None)


def is_normalization(layer: Any) -> bool:
    """Whether `layer` holds constants of the data (`Normalization`), which are no weights to share."""
    return isinstance(layer, keras.layers.Normalization)


def is_seed(variable: Any) -> bool:
    """Whether `variable` is the state of a `keras.random.SeedGenerator`, which each model keeps to itself.

    Layers list their generators' states in `variables` but mark them only by their name.
    """
    return variable.name == "seed_generator_state"


def native_variable(variable: Any) -> Any:
    """The backend's own variable. Within a `StatelessScope`, the public `Variable.value` is the tensor in its place."""
    return variable._value


def buffers(model: Any) -> list[Any]:
    """The weights that were created non-trainable, such as batch norm's moving statistics.

    `Model.non_trainable_weights` also lists what is frozen at present, which is something else.
    """
    return [variable for layer in all_layers(model) for variable in layer._non_trainable_variables]


def input_tensors(layer: Any) -> list[Any]:
    """The symbolic inputs of a layer's first call in a functional model; none inside subclassed ones.

    `Layer.input` raises for a layer that is called twice.
    """
    return layer._inbound_nodes[0].input_tensors if getattr(layer, "_inbound_nodes", None) else []


def producer(tensor: Any) -> Any:
    """The layer that made a symbolic tensor, or None."""
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def inputs_struct(model: Any) -> Any:
    """The inputs of a model as it nests them, as tensors with shape and dtype; None if they cannot be known.

    `Model.inputs` has lost the keys. Of a subclassed model Keras keeps the shapes it was built with.
    """
    if hasattr(model, "_inputs_struct"):
        return model._inputs_struct
    if isinstance(model, keras.Sequential) and getattr(model, "inputs", None):  # one of modules has none
        return model.inputs[0]
    shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or not all(size is None or isinstance(size, int) for size in shape):
        return None
    # The size of the batch that the model was built with says nothing, and the dtype is not known: of rows of numbers
    # in a model that looks something up, take it that these are what it looks up.
    looks_up = len(shape) == 2 and any(isinstance(layer, keras.layers.Embedding) for layer in all_layers(model))
    return keras.KerasTensor((None, *shape[1:]), dtype="int32" if looks_up else keras.config.floatx())


def outputs_struct(model: Any) -> Any:
    """The symbolic outputs of a functional model as it nests them, or None. `Model.outputs` has lost the keys."""
    return getattr(model, "_outputs_struct", None)


def layer_metrics(model: Any) -> list[Any]:
    """The metrics that layers of `model` hold. `Model.metrics` mixes them with those of `compile`."""
    return [metric for layer in all_layers(model) if not isinstance(layer, keras.Model) for metric in layer.metrics]


def _in_strategy() -> bool:
    import tensorflow as tf

    return tf.distribute.has_strategy()


def outside_state(metrics: list[Any]) -> list[Any]:
    """Variables that running a model may change and that are not in `model.variables`.

    These are the metrics that its layers update, and the state of Keras's global random generator. (The latter is not
    available in a JAX step, as in Keras itself, nor in a replica of a `tf.distribute` strategy, each of which is traced
    in a thread of its own.)
    """
    found = [variable for metric in metrics for variable in metric.variables]
    backend = keras.backend.backend()
    if backend == "jax" or (backend == "tensorflow" and _in_strategy()):
        return found
    return [*found, global_seed()]


def recurrent_states(model: Any) -> list[Any]:
    """The states of `stateful=True` recurrent layers, which Keras lists among no layer's variables."""
    found = [getattr(layer, "states", None) for layer in all_layers(model) if getattr(layer, "stateful", False)]
    return [v for v in keras.tree.flatten(found) if isinstance(v, keras.Variable)]


def global_seed() -> Any:
    """The state of the generator that unseeded calls of `keras.random` draw from, which has no public name."""
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator().state


def portable_config(config: Any) -> Any:
    """A serialised optimizer without the backend in it.

    Under PyTorch, Keras writes the module of its own subclass into the config (`keras.src.backend.torch.optimizers`),
    which no other backend can load. The public class of the same name stands for it everywhere.
    """
    if isinstance(config, dict):
        config = {key: portable_config(value) for key, value in config.items()}
        if str(config.get("module", "")).startswith("keras.src.backend.torch.optimizers"):
            config["module"] = "keras.optimizers"
    return config


def graph(model: Any) -> Any:
    """The functional graph that a model computes, or None where `call` is the user's own.

    `keras.Model(inputs, outputs)` makes an instance of a class without a public name, and a Sequential model keeps the
    graph of its layers in a private attribute.
    """
    from keras.src.models.functional import Functional

    if isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call:
        return model._functional
    return model if isinstance(model, Functional) and type(model).call is Functional.call else None


def graph_calls(graph: Any) -> list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any], list[Any]]]:
    """The calls in a functional graph, producers before consumers.

    Returns:
        For each call the layer or operation, its arguments and keyword arguments, and its symbolic inputs and outputs.
        `Function.operations` is public but does not tell the calls of a layer apart that is called more than once.
    """
    by_depth = graph._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]
    return [
        (node.operation, node.arguments.args, node.arguments.kwargs, node.input_tensors, node.outputs) for node in nodes
    ]


def operation_kind(operation: Any) -> str | None:
    """`Add` for what `x + y` or `keras.ops.add` puts into a functional graph; None for anything that is not Keras's.

    These classes are not exported.
    """
    kind = type(operation)
    return kind.__name__ if kind.__module__.startswith("keras.src.ops.") else None


def is_remote(path: Any) -> bool:
    """Whether Keras writes to `path` by another way than the file system, such as `gs://` and `hf://`."""
    from keras.src.utils import file_utils

    return file_utils.is_remote_path(str(path))


def asks_to_overwrite(path: Any) -> bool:
    """Asks the user as Keras does for `overwrite=False`; whether the answer is yes. It asks only where it writes."""
    from keras.src.utils import io_utils

    return io_utils.ask_to_proceed_with_overwrite(path)


def forget_initial_epoch(model: Any) -> None:
    """Undoes what `keras.callbacks.BackupAndRestore` leaves: every later `fit` would start at the restored epoch too.

    The callback knows no public way to tell `fit` where to start, nor has it one to take that back.
    """
    model._initial_epoch = None
