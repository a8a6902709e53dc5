"""An entry of a weights map, and the errors that it can have."""

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.nesting.placement import Index, positions

ADVICE = (
    "Give corresponding layers of both models the same explicit `name`, say which names correspond by "
    "`weights_map=WeightsMap.infer(base, motivated, rename=...)`, or pass `weights_map=WeightsMap(base, motivated, "
    "entries)`."
)


@dataclass(frozen=True)
class Entry:
    """An entry of a weights map: `base` is `motivated[index]`.

    Attributes:
        base: A `keras.Variable` of the base model, of any shape.
        motivated: A `keras.Variable` of the motivated model with the same number of axes. No axis is shorter.
        index: For each axis a `slice` or a 1-D integer array: the positions of the base's entries. `None` means the
            prefix.
    """

    base: Any
    motivated: Any
    index: Index | None = None


def check_built(name: str, model: Any) -> None:
    """Raises an error if `model` is not a built Keras model. If possible, builds layers that are built by a call."""
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
    """Builds layers that create their weights when they are called, so that a map has these weights.

    It uses a symbolic call, as Keras does at the start of `fit`. If this fails, the first batch shows it.
    """
    specs = _keras.inputs_struct(model)
    if specs is not None:
        with contextlib.suppress(Exception):  # the user's code may work only on a real batch
            model.compute_output_spec(specs)


def complete(entry: Entry) -> Entry:
    index = [slice(0, size) for size in entry.base.shape] if entry.index is None else entry.index
    return replace(entry, index=tuple(index))


def misfit(base: Any, motivated: Any, index: Index | None = None) -> str | None:
    """The error of an entry, in one line; `None` if it is correct."""
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


def misfits(base: keras.Model, motivated: keras.Model, entries: list[Entry]) -> list[str]:
    """The errors of the entries of a map of two models, one line each, such as foreign or missing variables."""
    known = {id(v) for v in base.variables}, {id(v) for v in motivated.variables}
    seen: set[int] = set()
    problems = []
    for entry in entries:
        for variable, model, ids in zip((entry.base, entry.motivated), ("base", "motivated"), known):
            if id(variable) not in ids:
                problems.append(f"'{variable.path}' is not a variable of the {model} model")
            if id(variable) in seen:
                problems.append(f"'{variable.path}' is mapped twice")
            seen.add(id(variable))
        problems += [problem] if (problem := misfit(entry.base, entry.motivated, entry.index)) else []
    problems += [f"'{v.path}' {tuple(v.shape)} has no partner" for v in base.trainable_variables if id(v) not in seen]
    return problems


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
