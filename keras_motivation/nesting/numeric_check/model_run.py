"""Runs a model with other values of its variables. The variables keep their own values."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.backend import fused, gradients, holding, unshared
from keras_motivation.nesting.numeric_check.layer_by_layer import Notes, forcing, noting
from keras_motivation.nesting.numeric_check.sites import Site

Calls = Sequence[tuple[Any, Callable[..., Any]]]


class ModelRun:
    """Runs a model in inference mode with any values of its variables.

    Args:
        model: A built model.
        linear: Whether softmax and sigmoid at the outputs are left out.
        other: Another model whose variables and layers take part.
        calls: Functions that replace the `call` of layers in each run.
    """

    def __init__(self, model: Any, linear: bool, other: Any = None, calls: Calls = ()) -> None:
        self.model, self._linear, self._calls = model, linear, calls
        self._models = [model] if other is None else [model, other]
        self._all = list({id(v): v for model in self._models for v in model.variables}.values())
        self._kwargs = {"training": False} if _keras.takes_training(model) else {}
        self._programs: dict[Any, Any] = {}

    def outputs(self, values: Mapping[int, Any], x: Any, calls: Calls = ()) -> list[np.ndarray]:
        """The model's outputs.

        Args:
            values: Values of all variables, by the id of the variable.
            x: A batch of inputs.
            calls: Functions that replace the `call` of layers.
        """
        return _numbers(self._run("outputs", values, x, tuple(calls)))

    def noted(self, values: Mapping[int, Any], x: Any, sites: tuple[Site, ...]) -> tuple[list[np.ndarray], Notes]:
        """The model's outputs, and the outputs of the base's layers at the sites."""
        outputs, notes = self._run("noted", values, x, sites)
        return _numbers(outputs), notes

    def forced(
        self, values: Mapping[int, Any], x: Any, notes: Notes, sites: tuple[Site, ...], calls: Calls = ()
    ) -> tuple[list[np.ndarray], dict[tuple[int, int, int], float]]:
        """The model's outputs if layers return their partners' outputs, and the difference of each layer from these."""
        outputs, errors = self._run("forced", values, (x, notes), sites, tuple(calls))
        numbers = ops.convert_to_numpy(ops.stack(list(errors.values()))) if errors else []
        return _numbers(outputs), {key: float(number) for key, number in zip(errors, numbers)}

    def variables(self, chosen: list[Any], values: Mapping[int, Any], x: Any, calls: Calls = ()) -> list[np.ndarray]:
        """The values of some variables after a run. Arguments as for `outputs`."""
        found = self._run("variables", values, x, tuple(calls), tuple(self._places(chosen)))
        return [ops.convert_to_numpy(value) for value in found]

    def gradients(
        self, chosen: list[Any], values: Mapping[int, Any], x: Any, calls: Calls = ()
    ) -> tuple[list[Any], list[np.ndarray]]:
        """Gradients of a random weighted sum of the outputs, or None; and the outputs. Arguments as for `outputs`."""
        found, outputs = self._run("gradients", values, x, tuple(calls), tuple(self._places(chosen)))
        return [value if value is None else ops.convert_to_numpy(value) for value in found], _numbers(outputs)

    def _places(self, chosen: list[Any]) -> list[int]:
        places = {id(v): i for i, v in enumerate(self._all)}
        return [places[id(v)] for v in chosen]

    def _run(self, kind: str, values: Mapping[int, Any], x: Any, *details: Any) -> Any:
        key = (kind, *details)
        if key not in self._programs:
            self._programs[key] = fused(functools.partial(getattr(self, f"_{kind}"), *details))
        tensors = [ops.convert_to_tensor(values[id(v)], v.dtype) for v in self._all]
        with np.errstate(all="ignore"):
            return self._programs[key](tensors, x)

    @contextlib.contextmanager
    def _forward(
        self, calls: Calls, values: Sequence[Any], x: Any, around: Calls = ()
    ) -> Iterator[tuple[list[Any], Any]]:
        """Gives the outputs, and the scope with the new values of variables. `around` wraps the calls of layers."""
        pairs = list(zip(self._all, values))
        with contextlib.ExitStack() as stack:
            for model in self._models:
                stack.enter_context(_keras.computing_plainly(model))
            for layer, call in [*self._calls, *calls]:
                stack.enter_context(_keras.called_as(layer, call))
            if self._linear:
                stack.enter_context(_keras.linear_outputs(self.model))
            for layer, wrapper in around:
                stack.enter_context(_keras.called_as(layer, wrapper(layer.call)))
            scope = stack.enter_context(holding(pairs, self.model))
            x = keras.tree.map_structure(lambda leaf: unshared(leaf) if ops.is_tensor(leaf) else leaf, x)
            yield keras.tree.flatten(self.model(x, **self._kwargs)), scope

    def _outputs(self, calls: Calls, values: list[Any], x: Any) -> list[Any]:
        with self._forward(calls, values, x) as (outputs, _):
            return outputs

    def _noted(self, sites: tuple[Site, ...], values: list[Any], x: Any) -> tuple[list[Any], Notes]:
        notes: Notes = {}
        with self._forward((), values, x, noting(sites, notes)) as (outputs, _):
            return outputs, notes

    def _forced(
        self, sites: tuple[Site, ...], calls: Calls, values: list[Any], x: tuple[Any, Notes]
    ) -> tuple[list[Any], Notes]:
        errors: Notes = {}
        with self._forward(calls, values, x[0], forcing(sites, x[1], errors)) as (outputs, _):
            return outputs, errors

    def _variables(self, calls: Calls, places: list[int], values: list[Any], x: Any) -> list[Any]:
        with self._forward(calls, values, x) as (_, scope):
            return [ops.copy(ops.convert_to_tensor(scope.get_current_value(self._all[i]))) for i in places]

    def _gradients(self, calls: Calls, places: list[int], values: list[Any], x: Any) -> tuple[list[Any], list[Any]]:
        @contextlib.contextmanager
        def total(chosen: list[Any]) -> Iterator[Any]:
            moved = dict(enumerate(values)) | dict(zip(places, chosen))
            with self._forward(calls, [moved[i] for i in range(len(values))], x) as (found, _):
                random = np.random.default_rng(0)  # with equal weights, outputs might cancel each other
                weights = [random.standard_normal(tuple(o.shape), np.float32) for o in found]
                terms = [ops.sum(ops.cast(o, "float32") * ops.convert_to_tensor(w)) for o, w in zip(found, weights)]
                yield sum(terms), found

        return gradients(total, [values[i] for i in places], [self._all[i] for i in places])


def _numbers(outputs: list[Any]) -> list[np.ndarray]:
    return [ops.convert_to_numpy(output).astype("float64") for output in outputs]
