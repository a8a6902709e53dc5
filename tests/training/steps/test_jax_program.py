"""JAX: a compiled step is handed no more of the state than it needs."""

import itertools

import keras
import numpy as np
import pytest
from helpers import Alternate, compiled, fit

from keras_motivation.training import upkeep

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="how JAX passes state around")


def test_what_a_batch_does_not_train_stays_with_the_host(monkeypatch):
    # Whoever looks after each batch gets the motivated model copied; here that must not be.
    monkeypatch.setattr(upkeep, "_looks_at_batches", lambda callback: False)
    model = compiled(Alternate())
    fit(model)
    states = []

    class Hold(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            flags = (bool(self.model._jax_state["non_trainable_variables"][self.model._kind_position()]),)
            states.append((*flags, list(self.model._jax_state["trainable_variables"])))

    fit(model, callbacks=[Hold()])
    own = len(model.base.trainable_variables)
    kinds = set()
    for (motivated, before), (_, after) in itertools.pairwise(states):
        kinds.add(motivated)
        same = [one is other for one, other in zip(before, after)]
        assert same == [False] * own + [not motivated] * (len(same) - own)
    assert kinds == {False, True}


def program_and_traces():
    from keras_motivation.training.steps.jax_program import compiled_step

    traces = []

    def step(state, data):
        (changed, kept, idle), (other,) = state
        traces.append(data.shape)
        new = changed + kept * data.sum()
        return {"sum": new, "kept": kept}, ([new, kept, idle], [other])

    return compiled_step(step), traces


def state_of(dtype):
    import jax.numpy as jnp

    return [jnp.ones((2,), dtype), jnp.full((2,), 3, dtype), jnp.zeros((5,))], [jnp.ones((3,))]


def test_changed_read_and_idle_state():
    program, traces = program_and_traces()
    state = before = state_of("float32")
    for _ in range(3):
        logs, state = program(state, np.ones(4, "float32"))
    np.testing.assert_array_equal(state[0][0], [37.0, 37.0])
    np.testing.assert_array_equal(logs["sum"], [37.0, 37.0])
    np.testing.assert_array_equal(logs["kept"], [3.0, 3.0])
    assert before[0][0].is_deleted()
    assert [state[0][1] is before[0][1], state[0][2] is before[0][2], state[1][0] is before[1][0]] == [True] * 3
    assert not any(array.is_deleted() for array in (*before[0][1:], *before[1]))
    assert traces == [(4,)]


def test_other_shapes_and_types_make_another_program():
    program, traces = program_and_traces()
    _, state = program(state_of("float32"), np.ones(4, "float32"))
    _, state = program(state, np.ones(2, "float32"))
    np.testing.assert_array_equal(state[0][0], [19.0, 19.0])
    _, state = program(state, np.ones(4, "float32"))
    assert traces == [(4,), (2,)]
    state = state_of("int32")
    _, after = program(state, np.ones(2, "int32"))
    np.testing.assert_array_equal(after[0][0], [7, 7])
    state = state_of("float16")
    _, after = program(state, np.ones(2, "float32"))  # the data as before, the state not
    np.testing.assert_array_equal(after[0][0], [7.0, 7.0])
    assert len(traces) == 4
    program(state_of("float32"), np.ones(2, "float32"))
    program(state_of("float16"), np.ones(2, "float32"))
    assert len(traces) == 4


def test_an_error_in_the_step_leaves_the_state():
    from keras_motivation.training.steps.jax_program import compiled_step

    def step(state, data):
        raise ValueError("the user's")

    program, state = compiled_step(step), state_of("float32")
    for _ in range(2):
        with pytest.raises(ValueError, match="the user's"):
            program(state, np.ones(2))
    assert not any(array.is_deleted() for array in (*state[0], *state[1]))


def test_a_value_handed_on_from_one_to_another():
    from keras_motivation.training.steps.jax_program import compiled_step

    program = compiled_step(lambda state, data: ({}, [state[0], state[0], state[1], state[3] + 1]))
    arrays = [np.full(2, i, "float32") for i in range(4)]
    for _ in range(2):
        _, state = program([keras.ops.convert_to_tensor(a) for a in arrays], np.ones(2))
        np.testing.assert_array_equal(np.stack(state), [[0, 0], [0, 0], [1, 1], [4, 4]])


class RemembersFirst(Alternate):
    """Copies one of its values, which it does not look at, into another."""

    def __init__(self):
        super().__init__()
        self.start = self.add_state("start", 3.0)
        self.best = self.add_state("best", 0.0)

    def update(self, loss):
        self.best.assign(self.start)
        return super().update(loss)


def test_a_condition_that_copies_a_value():
    model = compiled(RemembersFirst())
    fit(model)
    assert float(model.motivation.best.value) == 3.0
    assert all(np.isfinite(w).all() for w in model.base.get_weights())


def test_without_compiling():
    import jax

    model, other = compiled(Alternate()), compiled(Alternate())
    with jax.disable_jit():
        fit(model)
    fit(other)
    assert model.optimizer.iterations.value == other.optimizer.iterations.value == 8


def test_where_a_nan_comes_from():
    import jax

    def step(state, data):
        return {}, [jax.numpy.log(state[0] - data)]

    from keras_motivation.training.steps.jax_program import compiled_step

    with jax.debug_nans(True), pytest.raises(FloatingPointError, match="log"):
        compiled_step(step)([jax.numpy.zeros(2)], np.ones(2, "float32"))


def test_another_precision_makes_another_program():
    import jax

    program, traces = program_and_traces()
    for _ in range(2):
        _, state = program(state_of("float32"), np.ones(4, "float32"))
        with jax.default_matmul_precision("highest"):
            program(state, np.ones(4, "float32"))
    assert len(traces) == 2


def test_types_do_not_hang_on_the_first_state():
    import jax.numpy as jnp

    program, _ = program_and_traces()
    weak = jnp.asarray(1.0)
    assert weak.weak_type
    state = [weak, jnp.ones((), "bfloat16"), jnp.zeros(5)], [jnp.ones(3)]
    logs, _ = program(state, jnp.ones(4, "bfloat16"))
    assert logs["sum"].dtype == "float32"
