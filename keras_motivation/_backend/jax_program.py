"""A compiled step that is handed no more of the state than it needs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun


def compiled_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step `(state, data) -> (logs, state)`, compiled; what it changes of the state is donated.

    Each array that a compiled function takes and returns costs the host some microseconds, also where it only passes
    by, as the extension, its optimizer slots and its statistics do in a base batch. So the step is traced, and what it
    neither reads nor writes stays with the host.

    Args:
        step: Without side effects. The state is a tree of arrays, and comes back as the same tree.
    """
    programs: dict[Any, list[Callable[..., Any]]] = {}

    def run(state: Any, data: Any) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(data)
        key = tree, *((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
        found = programs.setdefault(key, [])
        for program in found:
            try:
                return program(state, data)
            except (TypeError, ValueError):  # before anything starts: the state is of other types, or elsewhere
                pass
        found.append(_program(step, state, data))
        return found[-1](state, data)

    return run


def _program(step: Callable[..., Any], state: Any, data: Any) -> Callable[..., Any]:
    """The step for a state and data of these types, compiled ahead of time."""
    traced, shape = jax.make_jaxpr(step, return_shape=True)(state, data)
    results = jax.tree.structure(shape)
    values = jax.tree.leaves(state)
    inputs, outputs = traced.jaxpr.invars[: len(values)], traced.jaxpr.outvars[-len(values) :]
    logs = traced.jaxpr.outvars[: -len(values)]
    passing = [new is old for old, new in zip(inputs, outputs)]
    read = {id(v) for equation in traced.jaxpr.eqns for v in equation.invars} | {id(v) for v in logs}
    changed = [i for i, passes in enumerate(passing) if not passes]
    kept = [i for i, passes in enumerate(passing) if passes and id(inputs[i]) in read]
    function = jaxpr_as_fun(traced)

    def needed(new: list[Any], old: list[Any], data: list[Any]) -> list[Any]:
        everything: list[Any] = [None] * len(values)
        for i, value in (*zip(changed, new), *zip(kept, old)):
            everything[i] = value
        found = function(*everything, *data)
        return [*found[: len(logs)], *(found[len(logs) + i] for i in changed)]

    def parts(state: Any, data: Any) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        everything = jax.tree.leaves(state)
        return everything, [everything[i] for i in changed], [everything[i] for i in kept], jax.tree.leaves(data)

    program = jax.jit(needed, donate_argnums=0).lower(*parts(state, data)[1:]).compile()

    def run(state: Any, data: Any) -> tuple[Any, Any]:
        everything, *arguments = parts(state, data)
        found = program(*arguments)
        for i, value in zip(changed, found[len(logs) :]):
            everything[i] = value
        return jax.tree.unflatten(results, [*found[: len(logs)], *everything])

    return run
