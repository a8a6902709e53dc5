"""The step under PyTorch: a Python `if` on the flag that the batch before has left."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import torch

DISPATCHES = ("host",)  # where the model of a batch can be chosen


class BackendStep:
    """Mixin of `MotivatedModel` for the PyTorch backend."""

    def train_step(self: Any, data: Any) -> dict[str, Any]:
        """One batch: of the motivated model where the last batch's decision says so, else of the base."""
        return self._train_batch(bool(self.motivation.motivated.value), data)

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
            motivated = bool(self.motivation.motivated.value)
            return self._train_batch(motivated, data[0], losses[motivated])

        self.train_function = train_function

    def make_test_function(self: Any, force: bool = False) -> None:
        """As in Keras."""
        self.metric_states.build()
        super().make_test_function(force)  # type: ignore[misc]

    def _train_batch(self: Any, motivated: bool, data: Any, minimised_loss: Any = None) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trained_variables(motivated)
        for variable in variables:
            variable.value.grad = None
        minimised_loss = minimised_loss or functools.partial(self.minimised_loss, motivated)
        minimised, loss, y_pred = minimised_loss(x, y, sample_weight)
        self.optimizer.scale_loss(minimised).backward()
        with torch.no_grad():
            gradients = self.clipped([v.value.grad for v in variables], variables)
            self.optimizer.apply(gradients, variables)
            return self.finish_batch(motivated, loss.detach(), x, y, y_pred, sample_weight)


def gradients(function: Callable[[list[Any]], Any], values: list[Any]) -> list[Any]:
    """The gradients of a scalar function of a list of tensors, at `values`; None where it does not depend on one."""
    leaves = [value.detach().clone().requires_grad_() for value in values]
    return list(torch.autograd.grad(function(leaves), leaves, allow_unused=True))


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, compiled where that pays: not here."""
    return torch.no_grad()(function)
