"""What a pair answers as its base would, where scripts and other models ask a `keras.Model` about itself."""

import math
import warnings
from typing import Any

import keras

from keras_motivation import _keras


class BaseView:
    """Mixin of `MotivatedModel`. As for any model, `inputs` and the rest are there if the base's graph is known."""

    @property
    def inputs(self: Any) -> Any:
        """The base's symbolic inputs."""
        return self._nested[0].inputs

    @property
    def outputs(self: Any) -> Any:
        """The base's symbolic outputs."""
        return self._nested[0].outputs

    @property
    def input(self: Any) -> Any:
        """The base's symbolic inputs as it nests them. With `output`, a graph of the base's layers."""
        graph = isinstance(self._nested[0], keras.Function)
        return self._nested[0].input if graph else super().input  # type: ignore[misc]

    @property
    def output(self: Any) -> Any:
        """The base's symbolic outputs as it nests them."""
        graph = isinstance(self._nested[0], keras.Function)
        return self._nested[0].output if graph else super().output  # type: ignore[misc]

    @property
    def input_shape(self: Any) -> Any:
        """The shape of the base's input."""
        return self._nested[0].input_shape

    @property
    def output_shape(self: Any) -> Any:
        """The shape of the base's output."""
        return self._nested[0].output_shape

    @property
    def output_names(self: Any) -> list[str]:
        """The base's output names, which dictionaries of losses and metrics refer to."""
        return self._nested[0].output_names

    def count_params(self: Any) -> int:
        """How many numbers both models' weights are, each counted once: a shared weight is one, in both models.

        (The sizes of `weights` sum up to more where the motivated model is wider: its pieces have room for the base's.)
        """
        total = sum(math.prod(v.shape) for v in self.weights)
        for weights_map, model in zip(self._maps, self._nested[1:]):
            found = [weights_map.partner(v) for v in model.weights if not weights_map.is_covered(v)]
            total -= sum(math.prod(base.shape) for base, _ in filter(None, found))
        return total

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Refused: a pair is for training. Export `model.base` or `model.motivated`."""
        raise NotImplementedError(
            "A pair cannot be exported, since only one model can answer: export `model.base` or `model.motivated`."
        )

    def warn_if_trained_from_outside(self: Any, training: Any) -> None:
        """Warns, once, if another model trains with the pair as a part of it; for `call`."""
        if training is True and not self._running.warned_of_training and _keras.is_part_of_a_call(self):
            self._running.warned_of_training = True
            warnings.warn(
                f"The pair '{self.name}' is trained as a part of another model, which trains its base alone: only the "
                "pair's own `fit` has motivated batches. Pass `pair.base` to that model instead.",
                stacklevel=2,
            )
