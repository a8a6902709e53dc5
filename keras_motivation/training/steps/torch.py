"""The training step under PyTorch: the host reads the level that the previous batch has set.

In eager PyTorch, each operation that assembles a weight costs time, in the forward and in the backward pass. So the
shared weights are copied into the larger model's own variables, which it reads like any Keras model. The gradients are
passed from there to the variables that store the weights.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from keras_motivation.backend.torch import write_part
from keras_motivation.interface import Pair
from keras_motivation.training.optimizers.updates import batches_applied
from keras_motivation.training.steps.torch_decision import HostCopy

DISPATCHES = ("host",)  # where the model of a batch can be chosen


class BackendStep(Pair):
    """Part of `MotivatedModel` for the PyTorch backend."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Trains on one batch, at the level that the condition decided after the last batch."""
        return self._train_batch(self._kind_on_host(), data)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluates all models on one batch."""
        return self.evaluate_batch(*self.unpacked(data))

    def make_train_function(self, force: bool = False) -> None:
        """As in Keras, but `torch.compile` compiles only the forward and backward pass of each kind of batch.

        Keras compiles the whole step. With several kinds of batches, each function of the optimizer would receive
        several different lists of gradients. Dynamo would compile it again and again, and stop at its limit.
        """
        self.build_metric_states()
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        if not self.jit_compile:
            return
        losses = [torch.compile(minimised_loss) for minimised_loss in self._for_each_kind(self.minimised_loss)]

        def train_function(data: Any) -> dict[str, Any]:
            kind = self._kind_on_host()
            return self._train_batch(kind, data[0], losses[kind])

        self.train_function = train_function

    def make_test_function(self, force: bool = False) -> None:
        """As in Keras."""
        self.build_metric_states()
        super().make_test_function(force)

    def _on_current_weights(self, size: int, run: Callable[[], Any], training: bool) -> Any:
        """Calls a function that runs one nested model, while this has the current weights, and returns its result."""
        if size == 0:
            return run()
        shared = self._sharing.shared_by(size)
        self._sharing.copy(size)
        self._copy_unfinished(size)
        before = _versions(shared)
        results = run()
        written = [v for v, old, new in zip(shared, before, _versions(shared)) if old != new or old is None]
        if training:  # written later, because a smaller model's backward pass may need its present weights
            self._running.written.append((size, written))
        else:
            self._sharing.carry_back(size, written)
        return results

    @torch.no_grad()
    def _copy_unfinished(self, size: int) -> None:
        """Copies buffers that smaller models have written in this batch, which are carried back only later."""
        for smaller, written in self._running.written:
            for variable in written:
                if not variable.trainable and (found := self._sharing.place_in(variable, size - smaller)) is not None:
                    write_part(variable.value, found[0].value, found[1])

    def _gradients(self, kind: int, variables: list[Any], scaled_loss: Any) -> list[Any]:
        """The gradients of the variables. Those of shared weights are passed to the variables that store them."""
        sizes = [size for size, _ in self._compiled_pair.kinds.terms[kind]]
        shared = [v for size in sizes for v in self._sharing.shared_by(size)]
        read = [*variables, *shared]
        # Not with `zero_grad` of the models, because not all variables of a Keras model are parameters for PyTorch.
        for variable in read:
            variable.value.grad = None
        scaled_loss.backward()
        found = {id(v): v.value.grad for v in read}
        with torch.no_grad():
            self._sharing.hand_on(max(sizes), found, _split, torch.add)
        for variable in shared:
            variable.value.grad = None  # otherwise it would need memory until the next such batch
        return [found[id(v)] for v in variables]

    def mean_over_replicas(self, tensors: list[Any]) -> None:
        """Replaces tensors by their means over the processes that train replicas of this pair. Here there is only one.

        Override it if you use `torch.distributed`; see `examples/distributed_pytorch.py`. It is called once per batch,
        with the gradients before clipping and the loss for the condition. So all processes make the same update and
        train the same models next.

        Args:
            tensors: The tensors, to be changed in place.
        """

    @functools.cached_property
    def _host_copy(self) -> HostCopy:
        return HostCopy()

    def _kind_on_host(self) -> int:
        """The number of the next batch's kind."""
        return self._host_copy.read(self._kind.value)

    def _train_batch(self, kind: int, data: Any, minimised_loss: Any = None) -> dict[str, Any]:
        with self.lent_for(kind):
            return self._train_batch_now(kind, data, minimised_loss)

    def _train_batch_now(self, kind: int, data: Any, minimised_loss: Any) -> dict[str, Any]:
        x, y, sample_weight = self.unpacked(data)
        trained = self.trained_variables(kind)
        variables = [v for own in trained for v in own]
        minimised_loss = minimised_loss or functools.partial(self.minimised_loss, kind)
        self._running.written = []  # forget what a failed batch has written
        with self.unchanged_by_errors(kind):
            minimised, loss, y_pred = minimised_loss(x, y, sample_weight)
        mean_loss = loss.detach()
        applied = batches_applied(self.optimizer) if variables else None
        alone = getattr(self.mean_over_replicas, "__func__", None) is BackendStep.mean_over_replicas
        early = applied is None and alone  # the decision depends only on this loss, so it can be made before the update
        with torch.no_grad():
            if early:
                self.decide(kind, None, mean_loss, x)
                self._host_copy.start(self._kind.value)
        # If all are frozen, there is nothing to differentiate.
        gradients = self._gradients(kind, variables, self.optimizer.scale_loss(minimised)) if variables else []
        with torch.no_grad():
            for size, written in self._running.written:
                self._sharing.carry_back(size, written)
            self.mean_over_replicas([*(g for g in gradients if g is not None), mean_loss])
            if variables:
                self.apply_gradients(gradients, trained, applied)
            if not early:
                self.decide(kind, applied, mean_loss, x)
            return self.log_batch(kind, mean_loss, x, y, y_pred, sample_weight)


def _versions(variables: list[Any]) -> list[int | None]:
    """How often each of a model's shared weights has been written; None if this is not known."""
    if torch.compiler.is_compiling():
        return [None] * len(variables)
    return [variable.value._version for variable in variables]


def _split(gradient: torch.Tensor, placement: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The smaller model's part of a widened weight's gradient, and the gradient with zeros in its place."""
    inner = placement.take(gradient).clone()
    write_part(0.0, gradient, placement)
    return inner, gradient
