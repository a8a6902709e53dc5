"""A numeric test of nesting: with its extension silenced, the motivated model must compute what the base computes.

It runs both models on random weights and random inputs, in a scope in which Keras changes nothing, so the models keep
every value that they have. Fresh weights would not do: a deep net that was just initialised answers all inputs nearly
alike, and then any map looks right. They are compared layer by layer, and by what comes out in the end.
"""

import copy
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.layerwise import LEAST_VARIATION
from keras_motivation.made_up import guesses, random_numbers, random_weight, standardised
from keras_motivation.pair_trials import PairTrials
from keras_motivation.torch_modules import kernels

MOST_DRAWS = 3  # of random weights: in a small net, a few of them may stop every signal
DRAWS_IN_DOUBT = 4  # a map holds if it does in more than half of them


@dataclass(frozen=True)
class Verdict:
    """What a probe found.

    Attributes:
        nesting: "exact"; "up to layer norm" (exact once every layer norm over a widened axis looks at the base's
            channels alone); "differs"; or "unknown" (nothing is proven: the base's outputs hardly vary, they are
            random, or the models cannot be looked into and differ by what may be rounding).
        error: Largest difference, as a share of the base's variation: of what corresponding layers make of the same
            inputs, or of both models' outputs.
        variation: How much the base's outputs vary across the inputs, as a share of their size.
        layer: The base's first layer whose partner computes something else; "" if it is none of them.
    """

    nesting: str
    error: float
    variation: float
    layer: str = ""

    @property
    def nested(self) -> bool:
        """Whether the motivated model contains the base."""
        return self.nesting in ("exact", "up to layer norm")


class Probe:
    """The base's outputs on random weights and inputs, and those of the motivated model for comparison.

    Args:
        weights_map: The `WeightsMap` to be tested.
        x: A batch of inputs as the models take them, or `None` to make one up that fits the base's inputs.
        seed: Seed of the random weights and inputs.
        trials: The map's `PairTrials`, if there are some already.

    Raises:
        ValueError: If `x` is `None` and the inputs cannot be made up.
    """

    def __init__(self, weights_map: Any, x: Any = None, seed: int = 0, trials: PairTrials | None = None) -> None:
        self.map, self._given, self._seed = weights_map, x, seed
        self._trials = trials or PairTrials(weights_map)
        self.precision = self._trials.precision
        self.random = np.random.default_rng(seed)
        self._assembled: dict[int, Any] = {}
        for _ in range(MOST_DRAWS):
            self.base_values = self._draw(weights_map.base)
            self.own_values = self._draw(weights_map.motivated)
            self._others = iter(guesses(weights_map.base, self.random) if x is None else [x, standardised(x)])
            self._try(self._others)
            if self.variation >= LEAST_VARIATION:
                break

    def _try(self, batches: Iterable[Any]) -> None:
        """Runs the base on each batch, until its outputs vary."""
        errors: list[Exception] = []
        for batch in batches:
            try:
                self._run_base(batch)
            except Exception as error:  # a sequence that is too short for the model, say
                errors.append(error)
                continue
            if self.variation >= LEAST_VARIATION:
                return
        if not hasattr(self, "expected"):
            raise errors[0]

    def _run_base(self, batch: Any) -> None:
        values = self.base_values | self._batch_statistics(batch)
        # Tensors, since each run of either model takes them again.
        values = {key: ops.convert_to_tensor(value) for key, value in values.items()}
        self.expected, self._notes = self._trials.noted(values, batch)
        self.x, self.base_values = batch, values
        sizes = [max(np.abs(o).max(), 1e-30) for o in self.expected]
        varied = [np.abs(o - o.mean(axis=0)).max() / size for o, size in zip(self.expected, sizes)]
        self.variation = float(np.nan_to_num(max(varied)))
        # What errors are measured by: how much each output varies, or a little of its size if it does not.
        self.scales = [max(v, LEAST_VARIATION) * size for v, size in zip(varied, sizes)]

    def verdict(self) -> Verdict:
        """Compares the models with the whole extension at zero; with other weights too if they agree but roughly."""
        first = self._compared()
        if not self.precision.doubt < first.error <= self.precision.models:
            return first
        draws = [first]
        for seed in range(self._seed + 1, self._seed + DRAWS_IN_DOUBT):
            draws.append(Probe(self.map, self._given, seed, self._trials)._compared())
            agree, differ = sum(v.nested for v in draws), sum(not v.nested and v.error > 0 for v in draws)
            if agree > DRAWS_IN_DOUBT / 2 or differ >= DRAWS_IN_DOUBT / 2:
                break  # more of them would not change it
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
        self._notes = {}  # as large as all that the layers put out
        if error <= self.precision.layer:
            return Verdict("up to layer norm" if self._trials.restricted else "exact", error, self.variation)
        rounding = not self._trials.sites and error <= self.precision.models  # through all layers: it may be just that
        unknown = rounding or self.is_random()
        return Verdict("unknown" if unknown else "differs", error, self.variation, layer)

    def _layers_differ(self) -> tuple[float, str]:
        """The largest difference of a layer, or of the outputs behind all of them; and the first layer that differs."""
        outputs, errors = self._forced()
        own = self._largest(outputs, self.expected)
        differ = sorted(number for (number, *_), error in errors.items() if not error <= self.precision.layer)
        first = self._trials.sites[differ[0]].inner.path if differ else ""
        return float(np.max([own, *np.nan_to_num(list(errors.values()), nan=np.inf)])), first

    def _forced(self) -> tuple[list[Any], dict[tuple[int, int, int], float]]:
        trials = self._trials
        self._notes = self._notes or trials.noted(self.base_values, self.x)[1]
        while True:
            try:
                values = self._values(self._everything)
                outputs, errors = trials.motivated.forced(values, self.x, self._notes, trials.sites, trials.restricted)
                if unlike := {n for n, *_ in errors.keys() ^ self._notes.keys()}:
                    trials.sites = tuple(site for n, site in enumerate(trials.sites) if n not in unlike)
                else:
                    return [self._part(o, e) for o, e in zip(outputs, self.expected)], errors
            except Exception:
                if not trials.sites:
                    raise
                trials.look_less_deep()
            self._notes = trials.noted(self.base_values, self.x)[1]

    def _at_another_scale(self) -> tuple[float, str]:
        """The difference on larger or smaller inputs, if it is gross: they may be far from what the model is for."""
        other = copy.copy(self)
        other._assembled = {}
        other.__dict__.pop("_silenced", None)
        try:
            batch = next(self._others)
            if _shapes(batch) != _shapes(self.x):
                return 0.0, ""  # of other sizes, and not of another scale
            other._run_base(batch)
            error, layer = other._layers_differ()
        except Exception:  # there is none, or the model does not take it
            return 0.0, ""
        return (error, layer) if self.precision.models < error < np.inf else (0.0, "")

    def is_silent(self, zeros: Mapping[int, Any]) -> bool:
        """Whether the extension has no effect if these parts of it are zero and the rest is random.

        Args:
            zeros: Masks of entries, or `True` for all, by the id of a motivated variable.
        """
        return self._largest(self._outputs(zeros), self._silenced) <= self.precision.runs

    def learns(self, zeros: Mapping[int, Any], variables: list[Any]) -> bool:
        """Whether gradients reach each of some motivated variables, with these parts of the extension at zero.

        Behind a ReLU they do not, for its gradient at zero is zero; nor if something else that is zero is in the way.
        """
        if not variables:
            return True
        found = self._trials.motivated.gradients(variables, self._values(zeros), self.x, self._trials.restricted)
        return all(g is not None and bool(np.any(g != 0)) for g in found)

    @functools.cached_property
    def _everything(self) -> dict[int, Any]:
        """Zeros for the whole extension."""
        # Integers that are buffers are kernels, quantized.
        buffers = {id(v) for v in _keras.buffers(self.map.motivated) if "int" not in str(v.dtype)}
        return {id(v): True for v in self.map.motivated.variables if id(v) not in buffers and not _keras.is_seed(v)}

    @functools.cached_property
    def _silenced(self) -> list[Any]:
        return self._outputs(self._everything)

    def is_random(self) -> bool:
        """Whether the base's outputs depend on its random seeds even in inference mode."""
        seeds = {id(v): self.base_values[id(v)] + 1 for v in self.map.base.variables if _keras.is_seed(v)}
        again = self._trials.base.outputs(self.base_values | seeds, self.x)
        return self._largest(again, self.expected) > self.precision.runs

    def _largest(self, outputs: list[Any], expected: list[Any]) -> float:
        """The largest difference, `nan` if something is not finite."""
        return float(np.max([np.abs(a - b).max() / scale for a, b, scale in zip(outputs, expected, self.scales)]))

    def _outputs(self, zeros: Mapping[int, Any]) -> list[Any]:
        """The motivated model's outputs, as far as they are the base's. Zeros are as in `is_silent`."""
        outputs = self._trials.motivated.outputs(self._values(zeros), self.x, self._trials.restricted)
        return [self._part(o, e) for o, e in zip(outputs, self.expected)]

    @staticmethod
    def _part(found: Any, expected: Any) -> Any:
        """The base's part of an output: features of a bare backbone grow with it, and the first are the base's."""
        return found[tuple(slice(0, size) for size in expected.shape)]

    def _values(self, zeros: Mapping[int, Any]) -> dict[int, Any]:
        """Values for all variables of both models."""
        values = dict(self.base_values)
        for v in self.map.motivated.variables:
            if id(v) in zeros:
                values[id(v)] = self._assemble(v, zeros[id(v)])
            else:
                if id(v) not in self._assembled:
                    self._assembled[id(v)] = self._assemble(v, False)
                values[id(v)] = self._assembled[id(v)]
        return values

    def _assemble(self, variable: Any, mask: Any) -> Any:
        value = self.own_values[id(variable)]
        value = ops.convert_to_tensor(np.where(mask, np.zeros((), value.dtype), value), variable.dtype)
        found = self.map.partner(variable)
        if found is None:
            return value
        return found[1].place(ops.convert_to_tensor(self.base_values[id(found[0])], variable.dtype), value)

    def _draw(self, model: Any) -> dict[int, np.ndarray]:
        """Random values for weights and moving statistics; seeds and constants of the data keep theirs."""
        buffers = {id(v) for v in _keras.buffers(model) if not v.name.startswith("moving_")}
        # A scale of float8 is no weight, though it is trained by what takes its gradient's place.
        own = [getattr(v, "overwrite_with_gradient", False) or _keras.is_seed(v) for v in model.variables]
        keeps = [v for v, keep in zip(model.variables, own) if keep or id(v) in buffers]
        kept = {id(v): ops.convert_to_numpy(v.value) for v in keeps}
        numbers = random_numbers(self.random)
        first = {id(v) for v in kernels(model)}  # their first axis makes the output, where that of others is the last
        drawn = {id(v): random_weight(v, numbers, id(v) in first) for v in model.variables if id(v) not in kept}
        return drawn | kept

    def _batch_statistics(self, batch: Any) -> dict[int, np.ndarray]:
        """The moving statistics of the base's batch norms, each set to those of the inputs.

        In training mode a moving average becomes `momentum * old + (1 - momentum) * new`; from 0 it shows the new.
        """
        norms = self._trials.norms
        moving = [v for n in norms for v in (n.moving_mean, n.moving_variance)]
        if not moving:
            return {}
        start = self.base_values | {id(v): np.zeros_like(self.base_values[id(v)]) for v in moving}
        after = self._trials.base.variables(moving, start, batch, self._trials.norms_training)
        share = [1 - n.momentum for n in norms for _ in range(2)]
        return {id(v): value / s for v, value, s in zip(moving, after, share)}


def _shapes(batch: Any) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) for leaf in keras.tree.flatten(batch)]
