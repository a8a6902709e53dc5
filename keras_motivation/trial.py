"""Runs of a model with other values of its variables than its own, which keep theirs."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation._backend import fused, gradients

Calls = Sequence[tuple[Any, Callable[..., Any]]]


class Trial:
    """A model to be run in inference mode at any values of its variables.

    Args:
        model: A built model.
        linear: Whether softmax and sigmoid are left out where they make an output.
        others: Variables of other models that take part.
    """

    def __init__(self, model: Any, linear: bool, others: Sequence[Any] = ()) -> None:
        self.model, self._linear = model, linear
        self._all = list({id(v): v for v in [*model.variables, *others]}.values())
        self._kwargs = {"training": False} if _keras.takes_training(model) else {}
        self._programs: dict[Any, Any] = {}

    def outputs(self, values: Mapping[int, Any], x: Any, calls: Calls = ()) -> list[np.ndarray]:
        """The model's outputs.

        Args:
            values: Of all variables, by the id of each.
            x: A batch of inputs.
            calls: What layers compute instead of their own `call`.
        """
        return [o.astype("float64") for o in self._run("outputs", values, x, tuple(calls))]

    def variables(self, chosen: list[Any], values: Mapping[int, Any], x: Any, calls: Calls = ()) -> list[np.ndarray]:
        """What a run makes of some variables; the rest as for `outputs`."""
        return self._run("variables", values, x, tuple(calls), tuple(self._places(chosen)))

    def gradients(self, chosen: list[Any], values: Mapping[int, Any], x: Any, calls: Calls = ()) -> list[Any]:
        """Of a random weighted sum of the outputs, by some variables; None where none comes. Else as for `outputs`."""
        return self._run("gradients", values, x, tuple(calls), tuple(self._places(chosen)))

    def _places(self, chosen: list[Any]) -> list[int]:
        places = {id(v): i for i, v in enumerate(self._all)}
        return [places[id(v)] for v in chosen]

    def _run(self, kind: str, values: Mapping[int, Any], x: Any, *details: Any) -> list[Any]:
        key = (kind, *details)
        if key not in self._programs:
            self._programs[key] = fused(functools.partial(getattr(self, f"_{kind}"), *details))
        tensors = [ops.convert_to_tensor(values[id(v)], v.dtype) for v in self._all]
        with np.errstate(all="ignore"):
            return [
                found if found is None else ops.convert_to_numpy(found) for found in self._programs[key](tensors, x)
            ]

    def _forward(self, calls: Calls, values: list[Any], x: Any) -> tuple[list[Any], Any]:
        """The outputs, and the scope that holds what else has come of it."""
        pairs = list(zip(self._all, values))
        with contextlib.ExitStack() as stack:
            for layer, call in calls:
                stack.enter_context(_keras.called_as(layer, call))
            if self._linear:
                stack.enter_context(_keras.linear_outputs(self.model))
            scope = stack.enter_context(keras.StatelessScope(state_mapping=pairs, collect_losses=True))
            return keras.tree.flatten(self.model(x, **self._kwargs)), scope

    def _outputs(self, calls: Calls, values: list[Any], x: Any) -> list[Any]:
        return self._forward(calls, values, x)[0]

    def _variables(self, calls: Calls, places: list[int], values: list[Any], x: Any) -> list[Any]:
        scope = self._forward(calls, values, x)[1]
        return [ops.convert_to_tensor(scope.get_current_value(self._all[i])) for i in places]

    def _gradients(self, calls: Calls, places: list[int], values: list[Any], x: Any) -> list[Any]:
        def total(chosen: list[Any]) -> Any:
            moved = dict(enumerate(values)) | dict(zip(places, chosen))
            found = self._forward(calls, [moved[i] for i in range(len(values))], x)[0]
            random = np.random.default_rng(0)  # all weighted alike, outputs might cancel
            weights = [random.standard_normal(tuple(o.shape), np.float32) for o in found]
            return sum(ops.sum(ops.cast(o, "float32") * ops.convert_to_tensor(w)) for o, w in zip(found, weights))

        return gradients(total, [values[i] for i in places])
