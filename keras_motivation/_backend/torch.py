"""The step under PyTorch: a Python `if` on the flag that the batch before has left.

Eager PyTorch would pay for each operation that assembles a weight, and again in the backward pass. Instead the shared
weights are copied into the motivated model's own variables, where it finds them as any Keras model does, and the
gradients are handed on from there to the variables that store the weights.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import torch

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
        shared = self._maps[level - 1] if level else None
        if shared is not None:
            shared.copy_to_motivated()
        y_pred = model(x, **({"training": training} if self._takes_training[level] else {}))
        if shared is not None and training and self.statistics == "shared":
            for entry, placement in zip(shared.entries, shared.placements):
                if not entry.base.trainable:  # batch-norm statistics, which the model has moved on
                    entry.base.assign(placement.take(entry.motivated.value))
        return y_pred, model.losses

    def _gradients(self: Any, motivated: bool, variables: list[Any]) -> list[Any]:
        """The gradients of the variables, where those of the motivated model's shared weights go to the base's."""
        found = {id(v): v.value.grad for v in variables}
        if motivated:
            for entry, placement in zip(self.weights_map.entries, self.weights_map.placements):
                gradient = entry.motivated.value.grad
                if gradient is None:
                    continue
                inner = gradient
                if not placement.whole:
                    inner = placement.take(gradient).clone()
                    _write(0.0, gradient, placement)
                own = found[id(entry.base)]
                found[id(entry.base)] = inner if own is None else own + inner
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
        minimised, loss, y_pred = minimised_loss(x, y, sample_weight)
        mean_loss = loss.detach()
        applied = batches_applied(self.optimizer) if variables else None
        alone = getattr(self.mean_over_replicas, "__func__", None) is BackendStep.mean_over_replicas
        early = applied is None and alone  # the decision depends on this loss only: a GPU has it before the update
        with torch.no_grad():
            if early:
                self.decide(motivated, None, mean_loss, x)
                self._host_copy.start(self.motivation.motivated.value)
        if variables:  # with all of them frozen there is nothing to differentiate
            for model in self._nested:
                model.zero_grad()
            self.optimizer.scale_loss(minimised).backward()
        with torch.no_grad():
            gradients = self._gradients(motivated, variables)
            self.mean_over_replicas([*(g for g in gradients if g is not None), mean_loss])
            if variables:
                self.apply_gradients(gradients, variables, applied)
            if not early:
                self.decide(motivated, applied, mean_loss, x)
            return self.log_batch(motivated, mean_loss, x, y, y_pred, sample_weight)


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


def gradients(function: Callable[[list[Any]], Any], values: list[Any]) -> list[Any]:
    """The gradients of a scalar function of a list of tensors, at `values`; None where it does not depend on one."""
    leaves = [value.detach().clone().requires_grad_() for value in values]
    return list(torch.autograd.grad(function(leaves), leaves, allow_unused=True))


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
