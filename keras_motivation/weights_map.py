"""The weights map: which entries of which motivated weight are which entries of which base weight (paper, 3.3)."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras, summaries
from keras_motivation._backend import writer
from keras_motivation.assembly import Index, Placement, positions
from keras_motivation.entries import Entry, check_built, complete, misfit, refusal
from keras_motivation.made_up import given
from keras_motivation.matching import match_variables
from keras_motivation.nesting import find_traps
from keras_motivation.probe import Probe, Verdict
from keras_motivation.selection import Select, select_channels
from keras_motivation.verification import verified


class WeightsMap:
    """Which entries of which motivated weight are which entries of which base weight.

    Usually made by `WeightsMap.infer`, or by `MotivatedModel` itself; the constructor is for models whose weights do
    not correspond by name, or not by prefix.

    Args:
        base: The base model, built.
        motivated: The motivated model, built.
        entries: Iterable of `Entry` or `(base variable, motivated variable[, index])`.

    Raises:
        ValueError: If a model is not built, a base trainable is not mapped, a variable is foreign or mapped twice,
            ranks or dtypes differ, a base dimension is larger, or an index does not select the base's shape.

    Source: paper, section 3.3.

    Examples:
        >>> import keras
        >>> import keras_motivation as km
        >>> def mlp(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(2)])
        >>> weights_map = km.WeightsMap.infer(mlp(8), mlp(16))
        >>> [(tuple(e.base.shape), tuple(e.motivated.shape)) for e in weights_map.entries]
        [((4, 8), (4, 16)), ((8,), (16,)), ((8, 2), (16, 2)), ((2,), (2,))]
    """

    def __init__(self, base: keras.Model, motivated: keras.Model, entries: Iterable[Any]) -> None:
        for name, model in (("base", base), ("motivated", motivated)):
            check_built(name, model)
        self.base = base
        self.motivated = motivated
        self.entries = [complete(e if isinstance(e, Entry) else Entry(*e)) for e in entries]
        self._check()
        self.placements = [Placement(e.index, e.motivated.shape) for e in self.entries if e.index is not None]
        self._by_motivated = {id(e.motivated): (e.base, p) for e, p in zip(self.entries, self.placements)}
        # Every variable of the motivated model with its partner, as each step needs it.
        self.layout = [(variable, self.partner(variable)) for variable in motivated.variables]
        self.verdict: Verdict | None = None  # of the probe, where `infer` ran it
        self.x: Any = None  # a batch of the user's to run the probe on
        self._probe: Probe | None = None
        self._write = writer([(e.base, e.motivated, p) for e, p in zip(self.entries, self.placements)])

    @classmethod
    def infer(
        cls,
        base: keras.Model,
        motivated: keras.Model,
        select: Select = "prefix",
        check: bool = True,
        x: Any = None,
        rename: Callable[[str], str] | None = None,
    ) -> "WeightsMap":
        """Finds the map by the names of layers and weights; each base weight becomes a slice of its partner.

        Names that Keras numbered itself (`conv2d_5`) are compared by their order within the model; where that is
        ambiguous the pair is refused. Trainable weights and buffers (batch-norm statistics) are mapped, random seeds
        and the constants of `Normalization` layers are not.

        Args:
            base: The base model, built.
            motivated: The motivated model, built.
            select: Which channels of a wider weight are the base's: "prefix" (the first); "importance" (those whose
                kernels have the largest L1 norm, for a trained motivated model); or a function of the base and the
                motivated variable and the axis, which returns their positions. A choice holds for all weights that
                share the channels.
            check: Whether to look for what names and shapes cannot show: in the graph, for a widened tensor that is
                flattened or joined before the next weight, gates or heads side by side in one kernel, other strides or
                groups; and by numbers, with `verify`, which costs a few batches of both models. `False` takes your
                word for it.
            x: A batch of your data, nested as the models' inputs, of at least 2 different samples: the check runs on
                up to 16 of them, and so does the search for how the extension can start silent. `None` makes inputs up.
            rename: Gives, for the name of a layer of the base, that of its partner in the motivated model, for names
                that carry a width or a number: `lambda name: name.replace("linear_8", "linear_16")`. What it leaves as
                it is is matched as usual.

        Returns:
            The `WeightsMap`.

        Raises:
            ValueError: If a base weight has no partner, a partner does not fit, or a prefix of it would be the wrong
                slice; if channels are to be selected and cannot be followed through the models; or if nothing can be
                shown by numbers, because no inputs can be made up, say: then pass `x`, or `check=False`. The error
                names the variables and layers. Also if `x` is no such batch.

        Warns:
            UserWarning: If new layers cannot be silenced, so that nesting cannot be shown.

        Examples:
            >>> import keras
            >>> import keras_motivation as km
            >>> def mlp(width):
            ...     hidden = keras.layers.Dense(width, name="hidden")
            ...     return keras.Sequential([keras.Input((8,)), hidden, keras.layers.Dense(2, name="head")])
            >>> weights_map = km.WeightsMap.infer(mlp(8), mlp(16))
            >>> round(weights_map.covered_share, 3), weights_map.verdict.nesting
            (0.506, 'exact')
        """
        check_built("base", base)
        check_built("motivated", motivated)
        pairs, layers, problems = match_variables(base, motivated, rename)
        problems += [problem for pair in pairs if (problem := misfit(*pair))]
        if check and not problems:
            problems = find_traps(layers, pairs)
        if problems:
            raise ValueError(refusal(base, motivated, problems))
        weights_map = cls(base, motivated, select_channels(pairs, base, motivated, select))
        weights_map.use(x)
        if check:
            weights_map.verdict = verified(weights_map)
        return weights_map

    def verify(self, x: Any = None, seed: int = 0) -> Verdict:
        """Tests the map by numbers: with a silent extension, the motivated model must compute what the base computes.

        Both models run on random weights and, unless you pass some, random inputs; their own values stay as they are.

        Args:
            x: A batch of inputs as the models take them, of at least 2 different samples; `None` makes one up.
            seed: Seed of the random weights and inputs.

        Returns:
            A `Verdict`. "exact" is what convolutional nets, and transformers of another depth, should give; "up to
            layer norm" what a widened transformer gives; "differs" means wrong entries, or an extension that cannot be
            silenced (new layers without a way around them, or layers that mix all channels).

        Raises:
            ValueError: If `x` is `None` and the models' inputs cannot be made up, or `x` is no batch of them.

        Examples:
            >>> import keras
            >>> import keras_motivation as km
            >>> def mlp(width):
            ...     hidden = keras.layers.Dense(width, "relu")
            ...     return keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(2)])
            >>> km.WeightsMap.infer(mlp(8), mlp(16)).verify().nesting
            'exact'
        """
        return Probe(self, None if x is None else given(self.base, x), seed).verdict()

    def use(self, x: Any) -> None:
        """Takes a batch of the user's, in the place of made-up inputs, for whatever is tried from now on.

        Args:
            x: As in `infer`; `None` changes nothing.
        """
        if x is not None:
            self.x, self._probe = given(self.base, x), None

    def probe(self) -> Probe:
        """The probe on the user's or made-up inputs, kept for who asks again: it is as large as both models."""
        self._probe = self._probe or Probe(self, self.x)
        return self._probe

    def forget_probe(self) -> None:
        """Frees the probe's memory."""
        self.x = self._probe = None

    def copy_to_motivated(self) -> None:
        """Writes the base's weights into the motivated model's variables; the extension stays."""
        self._write()

    def copy_to_base(self) -> None:
        """Writes the base's part of the motivated model's weights into the base."""
        for entry, placement in zip(self.entries, self.placements):
            entry.base.assign(ops.copy(placement.take(entry.motivated.value)))

    def without_buffers(self) -> "WeightsMap":
        """The same map for trained weights only, so that each model keeps its own batch-norm statistics."""
        private = {id(variable) for variable in _keras.buffers(self.base)}
        return WeightsMap(self.base, self.motivated, [e for e in self.entries if id(e.base) not in private])

    @property
    def covered_share(self) -> float:
        """Share of the motivated model's trainable and buffer entries that base entries map to, in [0, 1]."""
        covered = sum(int(np.prod(e.base.shape)) for e in self.entries)
        return covered / max(1, sum(int(np.prod(v.shape)) for v in self.motivated.weights))

    def partner(self, variable: Any) -> tuple[Any, Placement] | None:
        """The base variable inside a motivated one and its placement, or `None` if no base weight maps to it."""
        return self._by_motivated.get(id(variable))

    def is_covered(self, variable: Any) -> bool:
        """Whether the base covers all of a motivated variable, so that the motivated model stores nothing in it."""
        found = self.partner(variable)
        return found is not None and found[1].whole

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints how the motivated model extends the base: totals, then each layer that is new or wider.

        Args:
            print_fn: Called with each line.
        """
        for line in summaries.map_lines(self):
            print_fn(line)

    def get_config(self) -> dict[str, Any]:
        """The map as plain data: positions in `base.variables` and `motivated.variables`, and index arrays as lists."""
        inner = {id(v): i for i, v in enumerate(self.base.variables)}
        outer = {id(v): i for i, v in enumerate(self.motivated.variables)}
        return {
            "entries": [
                [inner[id(e.base)], outer[id(e.motivated)], None if p.prefix else _to_lists(e.index, e.motivated.shape)]
                for e, p in zip(self.entries, self.placements)
            ]
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], base: keras.Model, motivated: keras.Model) -> "WeightsMap":
        """Rebuilds the map of `get_config` for two models of the same structure.

        Raises:
            ValueError: If the config is not one of `get_config`, or does not fit the models.
            TypeError: If one of the two is no model.
        """
        for name, model in (("base", base), ("motivated", motivated)):
            check_built(name, model)
        try:
            entries = [_entry(base.variables, motivated.variables, *line) for line in config["entries"]]
        except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
            raise ValueError(
                "The config of a weights map must hold `entries`: a list of [position in `base.variables`, position in "
                "`motivated.variables`, None or a list of positions for each axis]. "
                f"Received: {str(config)[:200]} ({type(error).__name__}: {error})"
            ) from error
        return cls(base, motivated, entries)

    def _check(self) -> None:
        known = {id(v) for v in self.base.variables}, {id(v) for v in self.motivated.variables}
        seen: set[int] = set()
        problems = []
        for entry in self.entries:
            for variable, model, ids in zip((entry.base, entry.motivated), ("base", "motivated"), known):
                if id(variable) not in ids:
                    problems.append(f"'{variable.path}' is not a variable of the {model} model")
                if id(variable) in seen:
                    problems.append(f"'{variable.path}' is mapped twice")
                seen.add(id(variable))
            problems += [problem] if (problem := misfit(entry.base, entry.motivated, entry.index)) else []
        problems += [
            f"'{v.path}' {tuple(v.shape)} has no partner" for v in self.base.trainable_variables if id(v) not in seen
        ]
        if problems:
            raise ValueError(refusal(self.base, self.motivated, problems))


def _to_lists(index: Index | None, shape: Any) -> list[list[int]]:
    return [axis.tolist() for axis in positions(index or (), shape)]


def _entry(inner: list[Any], outer: list[Any], i: Any, j: Any, index: Any) -> Entry:
    if not all(isinstance(n, int) and n >= 0 for n in (i, j, *itertools.chain(*(index or [])))):
        raise ValueError("positions are integers of at least 0")
    return Entry(inner[i], outer[j], None if index is None else tuple(np.array(axis, "int64") for axis in index))
