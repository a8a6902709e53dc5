"""Checks before `fit`, `evaluate` and `predict`, and current weights in both models after them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from keras_motivation.interface import Pair
from keras_motivation.training.checks.arguments import check_not_empty, no_data
from keras_motivation.training.checks.variables import check_current, check_frozen_alike, check_trained


class Guards(Pair):
    """Part of `MotivatedModel`: additions to the methods of Keras that begin or end training."""

    def check_variables(self) -> None:
        """Raises a `RuntimeError` if a model has lost variables, or got new ones, since the pair was made."""
        check_current(self._nested, self._running.variables)

    def check_trained(self) -> None:
        """Raises a `ValueError` if `trainable` has changed since `compile`, or differs between the models."""
        check_frozen_alike(self.weights_maps)
        check_trained(self.trainable_variables, self.optimizer)

    def replace_lost_writes(self) -> None:
        """If the user has written shared weights in the motivated model, warns and restores the base's values."""
        self.attach_state()
        if self._lost_writes.warn(self.trained_examples.result):
            self._lost_writes.forget()
            self.sync()

    def make_train_function(self, force: bool = False) -> Any:
        """As in Keras, which calls it in `fit` and `train_on_batch`."""
        self.check_variables()
        self.check_trained()
        if force or self.train_function is None:
            self._running.ran.clear()
        self.replace_lost_writes()
        self._lost_writes.forget()
        return super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> Any:
        """As in Keras, which calls it in `evaluate` and `test_on_batch`."""
        self.replace_lost_writes()
        return super().make_test_function(force)

    def set_weights(self, weights: list[Any]) -> None:
        """As in Keras, for the weights of both models, in the order of `weights`."""
        super().set_weights(weights)
        self._lost_writes.forget()  # the base's part of a widened weight may be an old value

    def set_state_tree(self, state_tree: Any) -> None:
        """As in Keras."""
        super().set_state_tree(state_tree)
        self._lost_writes.forget()

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras. A condition that needs the length of the training must have got it from `fit` before."""
        if self.motivation is not None and self.motivation.needs_length:
            raise ValueError(
                f"The condition {type(self.motivation).__name__} needs the length of the training, which only `fit` "
                "knows. For `train_on_batch`, pass numbers of batches instead of fractions."
            )
        return super().train_on_batch(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Like `keras.Model.evaluate`, for all models in one pass over the data.

        Returns:
            The base's loss and metrics, and those of the motivated model as `motivated_*` (of several models as
            `motivated_1_*` and so on), unless you switched them off in `compile`.
        """
        if not self.compiled:  # Keras's own error is about the missing optimizer
            raise ValueError("You must call `compile()` before calling `evaluate()`.")
        self.check_variables()
        with self._left_current(), self._data_of(*args, **kwargs):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Like `keras.Model.predict`, for the base."""
        with self._left_current(), self._data_of(*args, **kwargs):
            return super().predict(*args, **kwargs)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Not possible: `quantize` would replace the shared weights. Quantize a loaded copy of each model instead."""
        raise NotImplementedError(
            "A pair cannot be quantized: save `model.base` and `model.motivated`, and quantize the loaded models."
        )

    @contextlib.contextmanager
    def _data_of(self, x: Any = None, *_: Any, **__: Any) -> Iterator[None]:
        """A context that raises an error if there are no data. Takes the arguments of `fit`."""
        check_not_empty(x)
        try:
            yield
        except StopIteration as error:  # under JAX, if the length of the data is not known in advance
            raise ValueError(no_data(x)) from error

    @contextlib.contextmanager
    def _left_current(self) -> Iterator[None]:
        """A context after which both models have the current weights, also after an error."""
        try:
            yield
        except BaseException as error:
            try:
                self.sync()
            except Exception as lost:  # the first error is the one to report
                error.add_note(
                    "The weights of both models are lost, because the failed step had taken over their memory: load "
                    f"them from a checkpoint. ({lost})"
                )
            try:
                if self.compiled:
                    self.check_trained()
            except ValueError as changed:  # for example by a callback; the first error may not say so
                error.add_note(str(changed))
            raise
