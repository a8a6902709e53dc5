"""The step under PyTorch: a Python `if` on the flag that the batch before has left.

Eager PyTorch would pay for each operation that assembles a weight, and again in the backward pass. Instead the shared
weights are copied into the motivated model's own variables, where it finds them as any Keras model does, and the
gradients are handed on from there to the variables that store the weights.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import keras
import torch

from keras_motivation._backend.own_variables import carry_back, hand_on
from keras_motivation._backend.torch_decision import HostCopy
from keras_motivation.updates import batches_applied

DISPATCHES = ("host",)  # where the model of a batch can be chosen


class BackendStep:
    """Mixin of `MotivatedModel` for the PyTorch backend."""

    def train_step(self: Any, data: Any) -> dict[str, Any]:
        """One batch: of the motivated model where the last batch's decision says so, else of the base."""
        return self._train_batch(self._motivated(), data)

    def test_step(self: Any, data: Any) -> dict[str, Any]:
        """One batch of evaluation, of both models."""
        return self.evaluate_batch(*keras.utils.unpack_x_y_sample_weight(data))

    def make_train_function(self: Any, force: bool = False) -> None:
        """As in Keras; but `torch.compile` gets the forward pass (and with it the backward) of each kind of batch.

        Keras compiles the step as a whole. With two kinds of batches Dynamo would meet two gradient lists in every
        function of the optimizer, recompile each, and give up at its limit.
        """
        self.metric_states.build()
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)  # type: ignore[misc]
        if not self.jit_compile:
            return
        losses = [torch.compile(functools.partial(self.minimised_loss, flag)) for flag in (False, True)]

        def train_function(data: Any) -> dict[str, Any]:
            motivated = self._motivated()
            return self._train_batch(motivated, data[0], losses[motivated])

        self.train_function = train_function

    def make_test_function(self: Any, force: bool = False) -> None:
        """As in Keras."""
        self.metric_states.build()
        super().make_test_function(force)  # type: ignore[misc]

    def _forward(self: Any, level: int, x: Any, training: bool) -> tuple[Any, list[Any]]:
        """Runs one nested model on the current weights.

        Returns:
            Its predictions and its penalties.
        """
        model = self._nested[level]
        kwargs = {"training": training} if self._takes_training[level] else {}
        if level == 0:
            return model(x, **kwargs), model.losses
        shared = self._maps[level - 1]
        shared.copy_to_motivated()
        before = _versions(shared)
        y_pred = model(x, **kwargs)
        written = [
            (entry, placement)
            for entry, placement, old, new in zip(shared.entries, shared.placements, before, _versions(shared))
            if old != new or old is None
        ]
        if training:  # later: the base's weights may be needed for its backward pass as they are
            self._running.written = written
        else:
            carry_back(written)
        return y_pred, model.losses

    def _gradients(self: Any, motivated: bool, variables: list[Any], scaled_loss: Any) -> list[Any]:
        """The gradients of the variables, where those of the motivated model's shared weights go to the base's."""
        shared = self._maps[-1]
        read = [*variables, *((entry.motivated for entry in shared.entries) if motivated else ())]
        # Not by `zero_grad` of the models: PyTorch does not know all of a Keras model's variables as its parameters.
        for variable in read:
            variable.value.grad = None
        scaled_loss.backward()
        found = {id(v): v.value.grad for v in read}
        if motivated:
            with torch.no_grad():
                hand_on(shared, found, _split, torch.add)
            for entry in shared.entries:
                entry.motivated.value.grad = None  # or it would take memory until the next motivated batch
        return [found[id(v)] for v in variables]

    def mean_over_replicas(self: Any, tensors: list[Any]) -> None:
        """Replaces tensors by their means over the processes that train replicas of this pair together: here, of one.

        To override where `torch.distributed` runs; see `examples/distributed_pytorch.py`. Called once a batch, with the
        gradients before they are clipped and the loss that the condition hears, so that all processes make the same
        update and take the same branch.

        Args:
            tensors: To be written in place.
        """

    @functools.cached_property
    def _host_copy(self: Any) -> HostCopy:
        return HostCopy()

    def _motivated(self: Any) -> bool:
        """Whether the next batch is motivated."""
        return self._host_copy.read(self.motivation.motivated.value)

    def _train_batch(self: Any, motivated: bool, data: Any, minimised_loss: Any = None) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trained_variables(motivated)
        minimised_loss = minimised_loss or functools.partial(self.minimised_loss, motivated)
        self._running.written = []  # of a batch that failed, nothing is carried back any more
        minimised, loss, y_pred = minimised_loss(x, y, sample_weight)
        mean_loss = loss.detach()
        applied = batches_applied(self.optimizer) if variables else None
        alone = getattr(self.mean_over_replicas, "__func__", None) is BackendStep.mean_over_replicas
        early = applied is None and alone  # the decision depends on this loss only: a GPU has it before the update
        with torch.no_grad():
            if early:
                self.decide(motivated, None, mean_loss, x)
                self._host_copy.start(self.motivation.motivated.value)
        # With all of them frozen there is nothing to differentiate.
        gradients = self._gradients(motivated, variables, self.optimizer.scale_loss(minimised)) if variables else []
        with torch.no_grad():
            carry_back(self._running.written)
            self.mean_over_replicas([*(g for g in gradients if g is not None), mean_loss])
            if variables:
                self.apply_gradients(gradients, variables, applied)
            if not early:
                self.decide(motivated, applied, mean_loss, x)
            return self.log_batch(motivated, mean_loss, x, y, y_pred, sample_weight)


def _versions(weights_map: Any) -> list[int | None]:
    """How often each of the motivated model's shared weights has been written to; None where that cannot be told."""
    if torch.compiler.is_compiling():
        return [None] * len(weights_map.entries)
    return [entry.motivated.value._version for entry in weights_map.entries]


def _split(gradient: torch.Tensor, placement: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The part of a widened weight's gradient that is the base's, and the gradient with zeros in its place."""
    inner = placement.take(gradient).clone()
    _write(0.0, gradient, placement)
    return inner, gradient


def _write(value: Any, outer: Any, placement: Any) -> None:
    """Writes where the base's entries stand in a motivated tensor: a number, or the base's tensor."""
    if placement.prefix:
        outer[placement.slices] = value
    elif isinstance(value, float):
        outer.masked_fill_(torch.as_tensor(placement.mask, device=outer.device), value)
    else:
        outer.copy_(placement.place(value, outer))


def writer(shared: list[tuple[Any, Any, Any]]) -> Callable[[], None]:
    """A function that writes each base variable into its motivated variable; from (base, motivated, placement)."""

    @torch.no_grad()
    def write() -> None:
        for base, motivated, placement in shared:
            _write(base.value, motivated.value, placement)

    return write


def placed(inner: Any, outer: Any, slices: tuple[slice, ...]) -> Any:
    """`outer` with `inner` in the place of its first entries. Gradients flow to both."""
    result = keras.ops.convert_to_tensor(outer).clone()
    result[slices] = keras.ops.convert_to_tensor(inner)
    return result


def gradients(running: Callable[[list[Any]], Any], values: list[Any], variables: list[Any]) -> list[Any]:
    """The gradients of the scalar that a context of a list of tensors gives, at `values`, which `variables` have; None
    where it does not depend on one."""
    leaves = [value.detach().clone().requires_grad_() for value in values]
    with running(leaves) as scalar:
        return list(torch.autograd.grad(scalar, leaves, allow_unused=True)) if leaves else []


def holding(pairs: list[tuple[Any, Any]], model: Any) -> Any:
    """A context in which variables have the values that they are paired with, and a model's state changes but there."""
    return keras.StatelessScope(state_mapping=pairs, collect_losses=True)


def untraced(layers: list[Any]) -> Any:
    """Within this, functions that the layers hold are not traced: here none keeps what is replaced for a time."""
    return contextlib.nullcontext()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, compiled where that pays: not here."""
    return torch.no_grad()(function)


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, as one program where that pays for a single call: not here."""
    return function


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Random generators beside Keras's, as functions that get and set their state.

    Keras's `Dropout` without a `seed` draws from these, and so does the order of `fit(shuffle=True)`.
    """

    def of(device: int) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        get, put = torch.cuda.get_rng_state, torch.cuda.set_rng_state
        return functools.partial(get, device), lambda state: put(torch.tensor(state, dtype=torch.uint8), device)

    cpu = torch.get_rng_state, lambda state: torch.set_rng_state(torch.tensor(state, dtype=torch.uint8))
    return [cpu, *map(of, range(torch.cuda.device_count()))]
