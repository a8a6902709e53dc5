"""Attributes of `keras.Model` for which a pair returns those of its base, for scripts and other models."""

import math
import warnings
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.interface import Pair


class BaseView(Pair):
    """Part of `MotivatedModel`. As in any model, `inputs` and the others exist only if the base's graph is known."""

    def build(self, input_shape: Any = None) -> None:
        """Builds nothing, because both models are already built."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The base's outputs."""
        self._warn_if_trained_from_outside(training)
        return self._nested[0](inputs, **({"training": training} if self._takes_training[0] else {}))

    @property
    def inputs(self) -> Any:
        """The base's symbolic inputs."""
        return self._nested[0].inputs

    @property
    def outputs(self) -> Any:
        """The base's symbolic outputs."""
        return self._nested[0].outputs

    @property
    def input(self) -> Any:
        """The base's symbolic inputs in the base's structure. Together with `output`, they give the base's graph."""
        graph = isinstance(self._nested[0], keras.Function)
        return self._nested[0].input if graph else super().input

    @property
    def output(self) -> Any:
        """The base's symbolic outputs in the base's structure."""
        graph = isinstance(self._nested[0], keras.Function)
        return self._nested[0].output if graph else super().output

    @property
    def input_shape(self) -> Any:
        """The shape of the base's input."""
        return self._nested[0].input_shape

    @property
    def output_shape(self) -> Any:
        """The shape of the base's output."""
        return self._nested[0].output_shape

    @property
    def output_names(self) -> list[str]:
        """The base's output names, which are the keys in dictionaries of losses and metrics."""
        return self._nested[0].output_names

    def count_params(self) -> int:
        """Number of parameters of all models together. A shared parameter is counted once.

        (The sum over `weights` is larger if the motivated model is wider, because its variables have room for the
        base's entries, too.)
        """
        total = sum(math.prod(v.shape) for v in self.weights)
        for size, model in enumerate(self._nested):
            found = [self._sharing.partner(v) for v in self._sharing.stored(size, model.weights)]
            total -= sum(math.prod(base.shape) for base, _ in filter(None, found))
        return total

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Not possible: a pair is for training. Export `model.base` or `model.motivated`."""
        raise NotImplementedError(
            "A pair cannot be exported, since only one model can answer: export `model.base` or `model.motivated`."
        )

    def _warn_if_trained_from_outside(self, training: Any) -> None:
        """Warns once if the pair is a part of another model that trains."""
        if training is True and not self._running.warned_of_training and _keras.is_part_of_a_call(self):
            self._running.warned_of_training = True
            warnings.warn(
                f"The pair '{self.name}' is trained as a part of another model, which trains its base alone: only the "
                "pair's own `fit` has motivated batches. Pass `pair.base` to that model instead.",
                stacklevel=2,
            )
