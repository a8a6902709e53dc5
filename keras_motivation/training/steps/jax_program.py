"""A compiled step that receives only the part of the state that it needs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

# If one of the first options changes, JAX compiles again. With one of the others, JAX searches for the origin of a NaN
# or does not compile; then plain `jax.jit` is used.
CONTEXT = ("jax_default_matmul_precision", "jax_enable_x64", "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion")
DEBUGGING = ("jax_debug_nans", "jax_debug_infs", "jax_disable_jit")


def compiled_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a step `(state, data) -> (logs, state)`. The arrays of the state that it changes are donated.

    Each array that a compiled function takes and returns costs the host some microseconds, even if the function does
    not use it. In a base batch this would be the extension, its optimizer slots and its statistics. So the step is
    traced, and arrays that it neither reads nor writes are not passed to it.

    Args:
        step: A function without side effects. The state is a tree of arrays; the step returns the same tree.
    """
    programs: dict[Any, list[Callable[..., Any]]] = {}
    plain = jax.jit(step, donate_argnums=0)

    def run(state: Any, data: Any) -> tuple[Any, Any]:
        if any(getattr(jax.config, option) for option in DEBUGGING):
            return plain(state, data)
        leaves, tree = jax.tree.flatten(data)
        key = tree, *map(_type, leaves), *(getattr(jax.config, option) for option in CONTEXT)
        found = programs.setdefault(key, [])
        for program in found:
            try:
                return program(state, data)
            except (TypeError, ValueError):  # raised before the start: the state has other types or is on other devices
                pass
        found.append(_program(step, state, data))
        return found[-1](state, data)

    return run


def _type(leaf: Any) -> Any:
    return np.shape(leaf), getattr(leaf, "dtype", type(leaf)), getattr(leaf, "weak_type", False)


def _program(step: Callable[..., Any], state: Any, data: Any) -> Callable[..., Any]:
    """The step for a state and data of these types, compiled in advance."""
    # Only shapes and types: an array made from a Python number would take its type from the other operands.
    types = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), state)
    traced, shape = jax.make_jaxpr(step, return_shape=True)(types, data)
    results = jax.tree.structure(shape)
    values = jax.tree.leaves(state)
    inputs, outputs = traced.jaxpr.invars[: len(values)], traced.jaxpr.outvars[-len(values) :]
    logs = traced.jaxpr.outvars[: -len(values)]
    passing = [new is old for old, new in zip(inputs, outputs)]
    changed = [i for i, passes in enumerate(passing) if not passes]
    read = {id(v) for equation in traced.jaxpr.eqns for v in equation.invars}
    read |= {id(v) for v in (*logs, *(outputs[i] for i in changed))}  # a new value may be another one's old
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
