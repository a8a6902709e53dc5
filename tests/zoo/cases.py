"""What a case of the zoo is: a stock model in two sizes, and data that fit it."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

BATCH = 4
VOCABULARY, LENGTH, SIDE, CLASSES = 20, 6, 16, 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A pair of a stock family: `build(*sizes[0])` inside `build(*sizes[1])`.

    `target` is "labels" (sparse cross-entropy of the last axis), "values" (mean squared error of all outputs), or a
    function of (model, count) that returns (targets, loss), perhaps with weights between them. The loss "auto" leaves
    it to the model's own `compile`, which gets the arguments `compiled`. `inputs` overrides inputs by name with a
    function of (random generator, count). `batch` says that the check cannot make inputs up, and is given a batch.
    `weights_map` makes the map of the two models where names do not tell it. `note` is what the page says beside the
    outcome.
    """

    library: str
    family: str
    task: str
    growth: str
    build: Callable[..., keras.Model]
    sizes: tuple[tuple[Any, ...], tuple[Any, ...]]
    target: Any = "values"
    inputs: Mapping[str, Callable[[np.random.Generator, int], np.ndarray]] = dataclasses.field(default_factory=dict)
    batch: bool = False
    compiled: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights_map: Callable[[keras.Model, keras.Model], Any] | None = None
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.family} {self.task} {self.growth}"

    def data(self, model: keras.Model, count: int) -> tuple[Any, Any, Any, Any]:
        """Inputs, targets, sample weights and loss for a model of either size."""
        rng = np.random.default_rng(0)
        x = made_up(model.input, count, rng, self.inputs)
        y_pred = keras.tree.map_structure(lambda t: (count, *t.shape[1:]), model(keras.tree.map_structure(first, x)))
        if callable(self.target):
            y, *weights, loss = self.target(model, count)
            return x, y, *(weights or [None]), loss
        if self.target == "labels":
            shape = y_pred
            y = rng.integers(0, shape[-1], shape[:-1])
            weights = (rng.random(shape[:-1]) < 0.7).astype("float32") if len(shape) == 3 else None
            return x, y, weights, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        y = keras.tree.map_shape_structure(lambda shape: rng.normal(size=shape).astype("float32"), y_pred)
        return x, y, None, keras.tree.map_shape_structure(lambda _: "mse", y_pred)


def first(array: np.ndarray) -> np.ndarray:
    """A batch: some models compare the examples of a batch, so that their outputs have its size twice."""
    return array[:BATCH]


def made_up(inputs: Any, count: int, rng: np.random.Generator, given: Mapping[str, Any]) -> Any:
    """Data for a model's inputs, by their names, types and ranks; axes without a size get a small one."""

    def one(name: str, tensor: Any) -> np.ndarray:
        if name in given:
            return given[name](rng, count)
        shape = (count, *(n or (LENGTH if len(tensor.shape) < 4 else SIDE) for n in tensor.shape[1:]))
        if "padding_mask" in name or "attention_mask" in name:
            lengths = rng.integers(shape[1] // 2, shape[1] + 1, (count, 1))
            return (np.arange(shape[1]) < lengths).astype(tensor.dtype)
        if "mask_positions" in name:
            return np.sort(rng.integers(0, LENGTH, shape)).astype(tensor.dtype)
        if "segment" in name:
            return rng.integers(0, 2, shape).astype(tensor.dtype)
        if "int" in tensor.dtype:
            return rng.integers(1, VOCABULARY, shape).astype(tensor.dtype)
        return (rng.random(shape) if len(shape) == 4 else rng.normal(size=shape)).astype(tensor.dtype)

    if isinstance(inputs, dict):
        return {name: one(name, tensor) for name, tensor in inputs.items()}
    return keras.tree.map_structure(lambda tensor: one(tensor.name, tensor), inputs)


def task(cls: type[keras.Model], backbone: Callable[..., keras.Model], **kwargs: Any) -> Callable[..., keras.Model]:
    """A builder of a KerasHub task as users build it for data that are preprocessed already."""
    accepted = inspect.signature(cls.__init__).parameters
    common = {"num_classes": CLASSES, "preprocessor": None}
    kwargs = {name: value for name, value in common.items() if name in accepted} | kwargs
    return lambda *size: cls(backbone=backbone(*size), **kwargs)


def family(
    library: str,
    name: str,
    backbone: Callable[..., keras.Model] | None,
    grown: Mapping[str, tuple[tuple[Any, ...], tuple[Any, ...]]],
    tasks: Mapping[str, Callable[..., keras.Model]] | None = None,
    target: Any = None,
    **kwargs: Any,
) -> list[Case]:
    """The cases of a family: its backbone in the first way to grow, each task in the next, so that all are tried."""
    growths = list(grown.items())
    cases = []
    if backbone is not None:
        for i in range(1 if tasks else len(growths)):
            bare = target if target and not tasks else "values"
            cases.append(Case(library, name, "backbone", *_grown(growths, i, backbone), target=bare, **kwargs))
    for i, (kind, build) in enumerate((tasks or {}).items(), 1):
        cases.append(Case(library, name, kind, *_grown(growths, i, build), **{"target": target or "labels", **kwargs}))
    return cases


def _grown(growths: list[Any], i: int, build: Any) -> tuple[str, Any, Any]:
    growth, sizes = growths[i % len(growths)]
    return growth, build, sizes
