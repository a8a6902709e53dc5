"""One line of a weights map, and what can be wrong with it."""

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.assembly import Index, positions

ADVICE = (
    "Give corresponding layers of both models the same explicit `name`, say which names correspond by "
    "`weights_map=WeightsMap.infer(base, motivated, rename=...)`, or pass `weights_map=WeightsMap(base, motivated, "
    "entries)`."
)


@dataclass(frozen=True)
class Entry:
    """One line of a weights map: `base` is `motivated[index]`.

    Attributes:
        base: A `keras.Variable` of the base model, of any shape.
        motivated: A `keras.Variable` of the motivated model with as many axes, none shorter.
        index: For each axis a `slice` or a 1-D integer array: where the base's entries stand. `None` means the prefix.
    """

    base: Any
    motivated: Any
    index: Index | None = None


def check_built(name: str, model: Any) -> None:
    """Raises unless `model` is a built Keras model; builds layers that wait for a call, where that can be done."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"Argument `{name}` must be a `keras.Model`. Received: {name}={model!r}")
    if not model.built or not model.variables:
        raise ValueError(
            f"Argument `{name}` must be a built model with weights: call it on a batch or on a `keras.Input` first. "
            f"Received: {name}=<{type(model).__name__} '{model.name}', built={model.built}, "
            f"{len(model.variables)} variables>"
        )
    if not all(layer.built for layer in _keras.all_layers(model)):
        _build_layers(model)


def _build_layers(model: keras.Model) -> None:
    """Builds layers that are built when they are called: a map must not miss the weights they then create.

    By a symbolic call, as Keras does at the start of `fit`. What it cannot build is noticed at the first batch.
    """
    specs = _keras.inputs_struct(model)
    if specs is not None:
        with contextlib.suppress(Exception):  # of the user's code, which a real batch may suit
            model.compute_output_spec(specs)


def complete(entry: Entry) -> Entry:
    index = [slice(0, size) for size in entry.base.shape] if entry.index is None else entry.index
    return replace(entry, index=tuple(index))


def misfit(base: Any, motivated: Any, index: Index | None = None) -> str | None:
    """What is wrong with an entry, in one line, or `None`."""
    inner, outer = tuple(base.shape), tuple(motivated.shape)
    names = f"'{base.path}' {inner} against '{motivated.path}' {outer}"
    if base is motivated:
        return f"'{base.path}' is the same variable in both models; build them as two models, each with its own weights"
    if len(inner) != len(outer):
        return f"{names}: the ranks differ"
    if any(i > o for i, o in zip(inner, outer)):
        return f"{names}: a dimension of the base is larger"
    if keras.backend.standardize_dtype(base.dtype) != keras.backend.standardize_dtype(motivated.dtype):
        return f"{names}: the dtypes {base.dtype} and {motivated.dtype} differ"
    if index is None:
        return None
    if len(index) != len(outer):
        return f"{names}: the index has {len(index)} axes"
    try:
        chosen = positions(index, outer)
    except IndexError as error:
        return f"{names}: the index does not fit ({error})"
    if tuple(len(axis) for axis in chosen) != inner:
        return f"{names}: the index selects the shape {tuple(len(axis) for axis in chosen)}"
    if any(len(set(axis.tolist())) != len(axis) for axis in chosen):
        return f"{names}: the index selects an entry twice"
    return None


def refusal(base: keras.Model, motivated: keras.Model, problems: list[str]) -> str:
    hint = ""
    if base.count_params() > motivated.count_params():
        hint = (
            f" The base has more parameters ({base.count_params():,}) than the motivated model "
            f"({motivated.count_params():,}): are the two swapped?"
        )
    listed = "".join(f"\n- {problem}" for problem in problems[:8])
    more = f"\n- and {len(problems) - 8} more" if len(problems) > 8 else ""
    return f"The weights of '{base.name}' do not map into '{motivated.name}'.{hint}{listed}{more}\n{ADVICE}"
