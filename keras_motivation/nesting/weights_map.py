"""The weights map: which entries of which motivated weight are which entries of which base weight (paper, 3.3)."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.backend import writer
from keras_motivation.nesting import map_config, map_summary
from keras_motivation.nesting.channels import Channels
from keras_motivation.nesting.entry import Entry, check_built, complete, misfit, misfits, refusal
from keras_motivation.nesting.layer_checks import find_traps
from keras_motivation.nesting.matching.names import match_variables
from keras_motivation.nesting.matching.renames import Rename
from keras_motivation.nesting.numeric_check.inputs.given import given
from keras_motivation.nesting.numeric_check.probe import Probe
from keras_motivation.nesting.numeric_check.report import Verdict, verified
from keras_motivation.nesting.placement import Placement
from keras_motivation.nesting.selection import Select, check_select, select_channels


class WeightsMap:
    """Which entries of which motivated weight are which entries of which base weight.

    Usually `WeightsMap.infer` or `MotivatedModel` makes it. Use the constructor for models whose weights do not
    correspond by name, or not by prefix.

    Args:
        base: The base model, built.
        motivated: The motivated model, built.
        entries: Iterable of `Entry` or `(base variable, motivated variable[, index])`.

    Raises:
        ValueError: If a model is not built, if a trainable base weight is not mapped, if a variable is mapped twice or
            belongs to another model, if ranks or dtypes differ, if a base dimension is larger, or if an index does not
            select the base's shape.

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
        if problems := misfits(base, motivated, self.entries):
            raise ValueError(refusal(base, motivated, problems))
        self.placements = [Placement(e.index, e.motivated.shape) for e in self.entries if e.index is not None]
        self._by_motivated = {id(e.motivated): (e.base, p) for e, p in zip(self.entries, self.placements)}
        self.verdict: Verdict | None = None  # of the check by numbers, if `infer` ran it
        # By output and axis, where the base's entries of the motivated model's outputs are; None where they come first.
        self.output_places: list[list[Any]] | None = None
        self.result_places: dict[int, dict[int, Any]] = {}  # the same for results of the base's layers, by their id
        self.unclear: list[str] = []  # the guesses in the map, in sentences
        self.x: Any = None  # a batch of the user's data for this check
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
        rename: Rename = None,
    ) -> "WeightsMap":
        """Finds the map by the names of layers and weights. Each base weight becomes a slice of its partner.

        Names that Keras numbered (`conv2d_5`) are matched by their order in the model. If this is ambiguous, the pair
        is refused. Trainable weights and buffers (batch-norm statistics) are mapped. Random seeds and the constants of
        `Normalization` layers are not mapped.

        Args:
            base: The base model, built.
            motivated: The motivated model, built.
            select: Which channels of a wider weight are the base's: "prefix" (the first channels); "importance" (those
                whose kernels have the largest L1 norm, for a trained motivated model); or a function of the base
                variable, the motivated variable and the axis, which returns the positions of the channels. All weights
                that share the channels get the same selection.
            check: Whether to check what names and shapes cannot show. In the layers: other strides, head sizes or
                groups, for example. By numbers: with `verify`, which costs a few batches of both models. `False` skips
                both checks.
            x: A batch of your data, nested like the models' inputs, with at least 2 different samples. The check runs
                on up to 16 of them, and so does the search for how the extension can start silent. `None` generates
                inputs.
            rename: Says which layer is which where names do not. A dictionary has names of the base's layers, and for
                each the name of its partner in the motivated model: `{"block_1": "block_3"}` leaves out two blocks in
                the middle. Of several layers with the same name, at different places, `"decoder/block_1"` is the one in
                the layer `decoder`. Or a function of a name, for names with a width or a number: `lambda name:
                name.replace("linear_8", "linear_16")`. All other layers are matched as usual.

        Returns:
            The `WeightsMap`.

        Raises:
            ValueError: If a base weight has no partner, or if a partner does not fit; if the layers compute different
                functions of the same weights; if selected channels cannot be followed through the models; if the check
                by numbers proves nothing, for example because no inputs can be generated (then pass `x`, or
                `check=False`); if `x` is not such a batch; if `rename` names layers that do not exist, or one partner
                for two layers. The error names the variables and layers.
            TypeError: If `rename` is of another type.

        Warns:
            UserWarning: If new layers cannot be silenced, so that nesting cannot be proven.

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
        check_select(select)
        check_built("base", base)
        check_built("motivated", motivated)
        pairs, layers, problems = match_variables(base, motivated, rename)
        problems += [problem for pair in pairs if (problem := misfit(*pair))]
        if check and not problems:
            problems = find_traps(layers, pairs)
        if problems:
            raise ValueError(refusal(base, motivated, problems))
        if all(tuple(inner.shape) == tuple(outer.shape) for inner, outer in pairs):
            weights_map = cls(base, motivated, pairs)  # they differ in depth only
        else:
            channels = Channels(pairs, layers, base, motivated, deep=True)
            weights_map = cls(base, motivated, select_channels(pairs, channels, select))
            weights_map.output_places, weights_map.unclear = channels.output_places(), channels.unclear
            weights_map.result_places = channels.result_places(layers)
        weights_map.use(x)
        if check:
            weights_map.verdict = verified(weights_map)
        return weights_map

    def verify(self, x: Any = None, seed: int = 0) -> Verdict:
        """Checks the map by numbers: with a silent extension, the motivated model must compute what the base computes.

        Both models run on random weights. If you pass no inputs, these are random, too. The models keep their own
        weights.

        Args:
            x: A batch of inputs for the models, with at least 2 different samples; `None` generates one.
            seed: Seed of the random weights and inputs.

        Returns:
            A `Verdict`. Convolutional nets, and transformers of another depth, should give "exact". A widened
            transformer gives "up to layer norm". "differs" means wrong entries, or an extension that cannot be silenced
            (new layers that no connection goes around, or layers that mix all channels).

        Raises:
            ValueError: If `x` is `None` and no inputs can be generated, or if `x` is not a batch of inputs.

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
        """Sets a batch of the user's data, which all later checks use instead of generated inputs.

        Args:
            x: As in `infer`; `None` changes nothing.
        """
        if x is not None:
            self.x, self._probe = given(self.base, x), None

    def probe(self) -> Probe:
        """The probe on the user's or generated inputs. It is kept for later calls. It is as large as both models."""
        self._probe = self._probe or Probe(self, self.x)
        return self._probe

    def forget_probe(self) -> None:
        """Frees the probe's memory."""
        self.x = self._probe = None

    def copy_to_motivated(self) -> None:
        """Writes the base's weights into the motivated model's variables. The extension does not change."""
        self._write()

    def copy_to_base(self) -> None:
        """Writes the base's part of the motivated model's weights into the base."""
        for entry, placement in zip(self.entries, self.placements):
            entry.base.assign(ops.copy(placement.take(entry.motivated.value)))

    def without_buffers(self) -> "WeightsMap":
        """The same map without buffers, so that each model keeps its own batch-norm statistics."""
        private = {id(variable) for variable in _keras.buffers(self.base)}
        return WeightsMap(self.base, self.motivated, [e for e in self.entries if id(e.base) not in private])

    @property
    def covered_share(self) -> float:
        """Share of the motivated model's entries (trainable weights, buffers) that the base covers, in [0, 1]."""
        covered = sum(int(np.prod(e.base.shape)) for e in self.entries)
        return covered / max(1, sum(int(np.prod(v.shape)) for v in self.motivated.weights))

    def partner(self, variable: Any) -> tuple[Any, Placement] | None:
        """The base variable inside a motivated one and its placement, or `None` if no base weight maps to it."""
        return self._by_motivated.get(id(variable))

    def is_covered(self, variable: Any) -> bool:
        """Whether the base covers a motivated variable completely, so that the motivated model stores nothing in it."""
        found = self.partner(variable)
        return found is not None and found[1].whole

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints how the motivated model extends the base: totals, and then each layer that is new or wider.

        Args:
            print_fn: Called with each line.
        """
        for line in map_summary.map_lines(self):
            print_fn(line)

    def get_config(self) -> dict[str, Any]:
        """The map as plain data: positions in `base.variables` and `motivated.variables`; index arrays are lists."""
        return map_config.to_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], base: keras.Model, motivated: keras.Model) -> "WeightsMap":
        """Rebuilds the map of `get_config` for two models of the same structure.

        Raises:
            ValueError: If the config is not from `get_config`, or does not fit the models.
            TypeError: If `base` or `motivated` is not a model.
        """
        for name, model in (("base", base), ("motivated", motivated)):
            check_built(name, model)
        return cls(base, motivated, map_config.entries_of(config, base, motivated))
