"""Where the model of a batch is chosen, on the host or in the compiled step, does not change what is trained."""

import keras
import numpy as np
import pytest
from helpers import Alternate, assert_same_weights, compiled, fit, vectors

import keras_motivation as km
from keras_motivation.training.steps import DISPATCHES

BACKEND = keras.backend.backend()
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="only JAX has two ways; the rest refuse the other, tested here")


@pytest.mark.parametrize("dispatch", ["graph", "host", "device", None])
def test_what_a_backend_lacks_is_refused(dispatch):
    if dispatch in DISPATCHES:
        compiled(dispatch=dispatch)
    else:
        with pytest.raises(ValueError, match=f"`dispatch` must be one of .*'auto'.*Received: dispatch={dispatch!r}"):
            compiled(dispatch=dispatch)
    assert {"jax": ("graph", "host"), "tensorflow": ("graph",), "torch": ("host",)}[BACKEND] == DISPATCHES


@only_jax
@pytest.mark.parametrize(("optimizer", "steps"), [("adamw", 1), ("adamw", 4), ("sgd", 20)])
def test_in_the_graph_as_on_the_host(optimizer, steps):
    """Also in loops of several batches, with some left over and a small last batch, by the paper's condition."""
    x, y = vectors(batches=9)
    models, histories = [], []
    for dispatch, count in (("host", 1), ("graph", steps)):
        model = compiled()
        chosen = keras.optimizers.get({"class_name": optimizer, "config": {"learning_rate": 0.02}})
        kwargs = {"metrics": ["accuracy"], "motivation": km.LossStreak(1), "steps_per_execution": count}
        model.compile(chosen, model.loss, dispatch=dispatch, **kwargs)
        record = km.MotivationHistory()
        histories.append(
            model.fit(x[:-2], y[:-2], batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[record]).history
        )
        models.append((model, record))
    (host, host_record), (graph, graph_record) = models
    assert 0 < host_record.motivated.sum() < 18
    np.testing.assert_array_equal(graph_record.motivated, host_record.motivated)
    np.testing.assert_allclose(graph_record.losses, host_record.losses, rtol=1e-4)
    assert histories[0].keys() == histories[1].keys()
    for name, expected in histories[0].items():
        np.testing.assert_allclose(histories[1][name], expected, rtol=1e-4, err_msg=name)
    assert_same_weights(graph.base, host.base)
    assert_same_weights(graph.motivated, host.motivated)


@only_jax
@pytest.mark.parametrize("steps", [1, 4])
def test_loss_scaling_in_the_graph(steps):
    models = []
    for dispatch in ("host", "graph"):
        model = compiled(Alternate())
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05), initial_scale=8.0)
        model.compile(optimizer, model.loss, motivation=Alternate(), dispatch=dispatch, steps_per_execution=steps)
        fit(model)
        models.append(model)
    assert_same_weights(models[1].motivated, models[0].motivated)


@only_jax
@pytest.mark.parametrize(("dispatch", "steps"), [("host", 1), ("graph", 1), ("graph", 2)])
def test_the_step_gives_its_buffers_away(dispatch, steps):
    """Otherwise each batch would hold all weights and optimizer slots twice."""
    model = compiled(dispatch=dispatch, steps_per_execution=steps)
    fit(model)
    held = []

    class Hold(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            held.append(self.model._jax_state["trainable_variables"][0])

    fit(model, callbacks=[Hold()])
    calls = 8 // steps
    assert [array.is_deleted() for array in held] == [True] * (calls - 1) + [False]


@only_jax
@pytest.mark.parametrize(("dispatch", "chosen"), [("auto", "host"), ("host", "host"), ("graph", "graph")])
def test_where_the_model_is_chosen(dispatch, chosen, monkeypatch):
    import jax

    conditionals = []
    switch = jax.lax.switch
    monkeypatch.setattr(jax.lax, "switch", lambda *arguments: conditionals.append(1) or switch(*arguments))
    fit(compiled(Alternate(), dispatch=dispatch))
    assert bool(conditionals) == (chosen == "graph")
