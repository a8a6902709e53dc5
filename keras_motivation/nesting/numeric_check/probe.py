"""A numeric test of nesting: with its extension silenced, the motivated model must compute what the base computes.

It runs both models on random weights and random inputs, in a scope in which Keras changes nothing, so the models keep
all their values. Newly initialised weights are not suitable: a deep net then gives almost the same output for all
inputs, and any map looks correct. The models are compared layer by layer, and by their final outputs.
"""

import copy
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.nesting.numeric_check.inputs.given import standardised
from keras_motivation.nesting.numeric_check.inputs.synthetic import guesses
from keras_motivation.nesting.numeric_check.layer_by_layer import LEAST_VARIATION
from keras_motivation.nesting.numeric_check.pair_run import PairRun
from keras_motivation.nesting.numeric_check.pair_values import PairValues
from keras_motivation.nesting.numeric_check.report import Verdict

MOST_DRAWS = 3  # of random weights: in a small net, some draws may stop every signal
DRAWS_IN_DOUBT = 4  # a map is correct if it is in more than half of them


class Probe:
    """The base's outputs on random weights and inputs, and those of the motivated model for comparison.

    Args:
        weights_map: The `WeightsMap` to be tested.
        x: A batch of inputs for the models; `None` generates one that fits the base's inputs.
        seed: Seed of the random weights and inputs.
        run: The map's `PairRun`, if there is one already.

    Raises:
        ValueError: If `x` is `None` and no inputs can be generated.
    """

    def __init__(self, weights_map: Any, x: Any = None, seed: int = 0, run: PairRun | None = None) -> None:
        self.map, self._given, self._seed = weights_map, x, seed
        self._run = run or PairRun(weights_map)
        self.precision = self._run.precision
        self.random = np.random.default_rng(seed)
        for _ in range(MOST_DRAWS):
            self.values = PairValues(weights_map, self.random)
            self._others = iter(guesses(weights_map.base, self.random) if x is None else [x, standardised(x)])
            self._try(self._others)
            if self.variation >= LEAST_VARIATION:
                break

    def _try(self, batches: Iterable[Any]) -> None:
        """Runs the base on one batch after the other, until its outputs vary."""
        errors: list[Exception] = []
        for batch in batches:
            try:
                self._run_base(batch)
            except Exception as error:  # for example, a sequence is too short for the model
                errors.append(error)
                continue
            if self.variation >= LEAST_VARIATION:
                return
        if not hasattr(self, "expected"):
            raise errors[0]

    def _run_base(self, batch: Any) -> None:
        values = self.values.base | self._run.batch_statistics(self.values.base, batch)
        # Tensors, because each run of the models uses them again.
        values = {key: ops.convert_to_tensor(value) for key, value in values.items()}
        self.expected, self._notes = self._run.noted(values, batch)
        self.x, self.values = batch, self.values.with_base(values)
        sizes = [max(np.abs(o).max(), 1e-30) for o in self.expected]
        varied = [np.abs(o - o.mean(axis=0)).max() / size for o, size in zip(self.expected, sizes)]
        self.variation = float(np.nan_to_num(max(varied)))
        # The unit of errors: the variation of each output, or a small part of its size if it does not vary.
        self.scales = [max(v, LEAST_VARIATION) * size for v, size in zip(varied, sizes)]

    def verdict(self) -> Verdict:
        """Compares the models with the whole extension at zero. If they agree only roughly, uses other weights, too."""
        first = self._compared()
        if not self.precision.doubt < first.error <= self.precision.models:
            return first
        draws = [first]
        for seed in range(self._seed + 1, self._seed + DRAWS_IN_DOUBT):
            draws.append(Probe(self.map, self._given, seed, self._run)._compared())
            agree, differ = sum(v.nested for v in draws), sum(not v.nested and v.error > 0 for v in draws)
            if agree > DRAWS_IN_DOUBT / 2 or differ >= DRAWS_IN_DOUBT / 2:
                break  # further draws would not change the result
        known = [verdict for verdict in draws if not np.isnan(verdict.error)]
        return sorted(known, key=lambda verdict: verdict.error)[len(known) // 2]

    def _compared(self) -> Verdict:
        if self.variation < LEAST_VARIATION:
            return Verdict("unknown", float("nan"), self.variation)
        error, layer = self._layers_differ()
        if error <= self.precision.layer:
            through_all = self._largest(self._silenced, self.expected)
            error = error if through_all <= self.precision.models else through_all
        if error <= self.precision.layer:
            error, layer = max((error, layer), self._at_another_scale())
        self._notes = {}  # frees the memory of all layers' outputs
        self.__dict__.pop("_base_alone", None)
        if error <= self.precision.layer:
            return Verdict("up to layer norm" if self._run.restricted else "exact", error, self.variation)
        rounding = not self._run.sites and error <= self.precision.models  # of all layers together
        unknown = rounding or self.is_random()
        return Verdict("unknown" if unknown else "differs", error, self.variation, layer)

    def _layers_differ(self) -> tuple[float, str]:
        """The largest difference of a layer, or of the outputs after all layers; and the first layer that differs."""
        outputs, errors = self._forced()
        own = self._largest(outputs, self.expected)
        differ = sorted(number for (number, *_), error in errors.items() if not error <= self.precision.layer)
        first = self._run.sites[differ[0]].inner.path if differ else ""
        return float(np.max([own, *np.nan_to_num(list(errors.values()), nan=np.inf)])), first

    def _forced(self) -> tuple[list[Any], dict[tuple[int, int, int], float]]:
        run = self._run
        self._notes = self._notes or run.noted(self.values.base, self.x)[1]
        while True:
            try:
                outputs, errors = run.motivated.forced(self._base_alone, self.x, self._notes, run.sites, run.restricted)
                if unlike := {n for n, *_ in errors.keys() ^ self._notes.keys()}:
                    run.sites = tuple(site for n, site in enumerate(run.sites) if n not in unlike)
                else:
                    return self._parts(outputs), errors
            except Exception:
                if not run.sites:
                    raise
                run.look_less_deep()
            self._notes = run.noted(self.values.base, self.x)[1]

    def _at_another_scale(self) -> tuple[float, str]:
        """The difference on larger or smaller inputs, if it is large: the model may not be made for such inputs."""
        other = copy.copy(self)
        for name in ("_base_alone", "_silenced"):
            other.__dict__.pop(name, None)
        try:
            batch = next(self._others)
            if _shapes(batch) != _shapes(self.x):
                return 0.0, ""  # inputs of other sizes, not of another scale
            other._run_base(batch)
            error, layer = other._layers_differ()
        except Exception:  # there is no other batch, or the model does not run on it
            return 0.0, ""
        return (error, layer) if self.precision.models < error < np.inf else (0.0, "")

    def is_silent(self, zeros: Mapping[int, Any]) -> bool:
        """Whether the extension has no effect if these parts of it are zero and the rest is random.

        Args:
            zeros: Masks of entries, or `True` for all entries, by the id of a motivated variable.
        """
        return self._largest(self._outputs(self.values.silenced(zeros)), self._silenced) <= self.precision.runs

    def is_silent_and_learns(self, zeros: Mapping[int, Any], variables: list[Any]) -> tuple[bool, bool]:
        """The results of `is_silent` and `learns`, from one run if the extension is silent."""
        if not variables:
            return self.is_silent(zeros), True
        values = self.values.silenced(zeros)
        found, outputs = self._run.motivated.gradients(variables, values, self.x, self._run.restricted)
        learns = all(g is not None and bool(np.any(g != 0)) for g in found)
        # A compiler may round otherwise where it also computes gradients.
        silent = self._largest(self._parts(outputs), self._silenced) <= self.precision.runs or self.is_silent(zeros)
        return silent, learns

    def learns(self, zeros: Mapping[int, Any], variables: list[Any]) -> bool:
        """Whether some motivated variables get gradients, with these parts of the extension at zero.

        Before a ReLU they get none, because the gradient of a ReLU at zero is zero. Other zeros on the way also stop
        gradients.
        """
        return self.is_silent_and_learns(zeros, variables)[1]

    @functools.cached_property
    def _base_alone(self) -> dict[int, Any]:
        """Values with the whole extension at zero."""
        return self.values.silenced(self.values.everything)

    @functools.cached_property
    def _silenced(self) -> list[Any]:
        """The base's part of the motivated model's outputs with these values."""
        return self._outputs(self._base_alone)

    def is_random(self) -> bool:
        """Whether the base's outputs depend on its random seeds, also in inference mode."""
        seeds = {id(v): self.values.base[id(v)] + 1 for v in self.map.base.variables if _keras.is_seed(v)}
        again = self._run.base.outputs(self.values.base | seeds, self.x)
        return self._largest(again, self.expected) > self.precision.runs

    def _largest(self, outputs: list[Any], expected: list[Any]) -> float:
        """The largest difference; `nan` if a value is not finite."""
        return float(np.max([np.abs(a - b).max() / scale for a, b, scale in zip(outputs, expected, self.scales)]))

    def _outputs(self, values: dict[int, Any]) -> list[Any]:
        """The base's part of the motivated model's outputs."""
        return self._parts(self._run.motivated.outputs(values, self.x, self._run.restricted))

    def _parts(self, outputs: list[Any]) -> list[Any]:
        """The base's part of each output. The features of a wider backbone are wider."""
        places = self.map.output_places or [[None] * len(expected.shape) for expected in self.expected]
        return [_part(output, expected, axes) for output, expected, axes in zip(outputs, self.expected, places)]


def _part(found: Any, expected: Any, places: list[Any]) -> Any:
    """The base's entries on each axis. If they are not known, they are the first ones."""
    for axis, (size, chosen) in enumerate(zip(expected.shape, places)):
        fits = chosen is not None and len(chosen) == size
        found = np.take(found, chosen if fits else np.arange(min(size, found.shape[axis])), axis)
    return found


def _shapes(batch: Any) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in keras.tree.flatten(batch)]
