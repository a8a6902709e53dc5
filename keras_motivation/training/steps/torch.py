"""The training step under PyTorch: a Python `if` on the flag that the previous batch has set.

In eager PyTorch, each operation that assembles a weight costs time, in the forward and in the backward pass. So the
shared weights are copied into the motivated model's own variables, which it reads like any Keras model. The gradients
are passed from there to the variables that store the weights.
"""

import functools
from typing import Any

import keras
import torch

from keras_motivation.backend.torch import write_part
from keras_motivation.interface import Pair
from keras_motivation.training.optimizers.updates import batches_applied
from keras_motivation.training.steps.own_variables import carry_back, hand_on
from keras_motivation.training.steps.torch_decision import HostCopy

DISPATCHES = ("host",)  # where the model of a batch can be chosen


class BackendStep(Pair):
    """Part of `MotivatedModel` for the PyTorch backend."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Trains on one batch: the motivated model if the condition decided so after the last batch, else the base."""
        return self._train_batch(self._motivated(), data)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluates both models on one batch."""
        return self.evaluate_batch(*keras.utils.unpack_x_y_sample_weight(data))

    def make_train_function(self, force: bool = False) -> None:
        """As in Keras, but `torch.compile` compiles only the forward and backward pass of each kind of batch.

        Keras compiles the whole step. With two kinds of batches, each function of the optimizer would receive two
        different lists of gradients. Dynamo would compile it again and again, and stop at its limit.
        """
        self.metric_states.build()
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        if not self.jit_compile:
            return
        losses = [torch.compile(functools.partial(self.minimised_loss, flag)) for flag in (False, True)]

        def train_function(data: Any) -> dict[str, Any]:
            motivated = self._motivated()
            return self._train_batch(motivated, data[0], losses[motivated])

        self.train_function = train_function

    def make_test_function(self, force: bool = False) -> None:
        """As in Keras."""
        self.metric_states.build()
        super().make_test_function(force)

    def _forward(self, level: int, x: Any, training: bool) -> tuple[Any, list[Any]]:
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
        if training:  # written later, because the base's backward pass may need its present weights
            self._running.written = written
        else:
            carry_back(written)
        return y_pred, model.losses

    def _gradients(self, motivated: bool, variables: list[Any], scaled_loss: Any) -> list[Any]:
        """The gradients of the variables. Those of the motivated model's shared weights are passed to the base's."""
        shared = self._maps[-1]
        read = [*variables, *((entry.motivated for entry in shared.entries) if motivated else ())]
        # Not with `zero_grad` of the models, because not all variables of a Keras model are parameters for PyTorch.
        for variable in read:
            variable.value.grad = None
        scaled_loss.backward()
        found = {id(v): v.value.grad for v in read}
        if motivated:
            with torch.no_grad():
                hand_on(shared, found, _split, torch.add)
            for entry in shared.entries:
                entry.motivated.value.grad = None  # otherwise it would need memory until the next motivated batch
        return [found[id(v)] for v in variables]

    def mean_over_replicas(self, tensors: list[Any]) -> None:
        """Replaces tensors by their means over the processes that train replicas of this pair. Here there is only one.

        Override it if you use `torch.distributed`; see `examples/distributed_pytorch.py`. It is called once per batch,
        with the gradients before clipping and the loss for the condition. So all processes make the same update and
        train the same model next.

        Args:
            tensors: The tensors, to be changed in place.
        """

    @functools.cached_property
    def _host_copy(self) -> HostCopy:
        return HostCopy()

    def _motivated(self) -> bool:
        """Whether the next batch is motivated."""
        return self._host_copy.read(self._motivated_flag.value)

    def _train_batch(self, motivated: bool, data: Any, minimised_loss: Any = None) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trained_variables(motivated)
        minimised_loss = minimised_loss or functools.partial(self.minimised_loss, motivated)
        self._running.written = []  # forget what a failed batch has written
        minimised, loss, y_pred = minimised_loss(x, y, sample_weight)
        mean_loss = loss.detach()
        applied = batches_applied(self.optimizer) if variables else None
        alone = getattr(self.mean_over_replicas, "__func__", None) is BackendStep.mean_over_replicas
        early = applied is None and alone  # the decision depends only on this loss, so it can be made before the update
        with torch.no_grad():
            if early:
                self.decide(motivated, None, mean_loss, x)
                self._host_copy.start(self._motivated_flag.value)
        # If all are frozen, there is nothing to differentiate.
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
    """How often each of the motivated model's shared weights has been written; None if this is not known."""
    if torch.compiler.is_compiling():
        return [None] * len(weights_map.entries)
    return [entry.motivated.value._version for entry in weights_map.entries]


def _split(gradient: torch.Tensor, placement: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The base's part of a widened weight's gradient, and the gradient with zeros in the place of this part."""
    inner = placement.take(gradient).clone()
    write_part(0.0, gradient, placement)
    return inner, gradient
