"""The private parts of Keras we lean on still behave as we take them to. If Keras changes one, this fails first."""

import keras
import numpy as np
import pytest
from helpers import crossentropy, mlp, vectors
from keras import layers

from keras_motivation import _keras
from keras_motivation._keras.models import COMPILED


def test_direct_sublayers():
    class Composite(layers.Layer):
        def __init__(self):
            super().__init__()
            self.one = layers.Dense(1)
            self.more = [layers.Dense(2), layers.Dense(3)]

    composite = Composite()
    assert _keras.direct_sublayers(composite) == [composite.one, *composite.more]


def test_auto_name():
    assert [_keras.auto_name(layers.Conv2D(1, 1)) for _ in range(3)] == [("conv2d", i) for i in range(3)]
    assert _keras.auto_name(layers.Conv2D(1, 1, name="conv")) is None
    assert _keras.auto_name(layers.Conv2D(1, 1, name="block2a_conv2d_1x")) is None
    assert _keras.auto_name(layers.MultiHeadAttention(1, 1)) == ("multi_head_attention", 0)
    assert _keras.auto_name(layers.Bidirectional(layers.LSTM(1)).forward_layer) == ("forward_lstm", 0)


def test_layers_compute_plainly_for_a_while():
    with keras.RematScope(mode="full"):
        dense = layers.Dense(2, dtype="float16")
    model = keras.Sequential([keras.Input((3,)), dense])
    remat = dense._remat_mode
    assert remat is not None
    seen = []
    with _keras.computing_plainly(model), _keras.called_as(dense, lambda x: seen.append((x, dense.kernel + 0)) or x):
        model(np.ones((2, 3), "float16"))
        assert dense._remat_mode is None
    assert [keras.backend.standardize_dtype(t.dtype) for t in seen[0]] == ["float32", "float32"]
    assert (dense.compute_dtype, dense._remat_mode) == ("float16", remat)


def test_masks_are_copied():
    source = layers.Embedding(3, 2, mask_zero=True)(keras.ops.convert_to_tensor([[0, 1]]))
    target = keras.ops.zeros((1, 2, 2))
    _keras.copy_mask(source, target)
    assert keras.ops.convert_to_numpy(target._keras_mask).tolist() == [[False, True]]


def test_outside_state():
    class Counting(layers.Layer):
        def __init__(self):
            super().__init__()
            self.metric = keras.metrics.Mean(name="counted")

        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((2,)), Counting(), layers.Dense(1)])
    paths = [v.path for v in _keras.outside_state(_keras.layer_metrics(model))]
    seed = [] if keras.backend.backend() == "jax" else ["seed_generator_state"]
    assert [path.split("/")[-1] for path in paths] == ["total", "count", *seed]


def test_random_seeds_are_recognised():
    model = keras.Sequential([keras.Input((2,)), layers.Dropout(0.5), layers.Dense(1)])
    assert [_keras.is_seed(v) for v in model.variables].count(True) == 1
    assert _keras.is_seed(keras.random.SeedGenerator(1).state)


@pytest.mark.parametrize("with_training", [True, False])
def test_compute_loss_accepts_both_signatures(with_training):
    class New(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return training

    class Old(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return "old"

    assert _keras.compute_loss(New(), None, None, None, None, training=False) is False
    assert _keras.compute_loss(Old(), None, None, None, None, training=False) == "old"


def test_loss_tracker_is_the_log_entry_loss():
    model = mlp()
    model.compile("sgd", crossentropy())
    assert _keras.loss_tracker(model) is model.metrics[0]
    assert _keras.loss_tracker(model).name == "loss"


def test_jax_hooks():
    """Keras's `_make_function`, `_get_jax_state` and `_jax_state`, which `training/steps/jax.py` extends."""
    if keras.backend.backend() != "jax":
        assert not hasattr(keras.Model, "_get_jax_state")
        return
    model = mlp()
    model.compile("sgd", crossentropy())
    x, y = vectors()
    model.fit(x, y, verbose=0)
    names = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
    state = model._get_jax_state(**dict.fromkeys(names, True), purge_model_variables=True)
    assert len(state) == 4
    assert model.trainable_variables[0]._value is None
    model._jax_state, model._jax_state_synced = dict(zip(names, state)), False
    model.jax_state_sync()
    assert model.trainable_variables[0]._value is not None
    step = model._make_function(lambda state, data: (data, state))
    assert step("state", iter(["batch"])) == ("batch", "state")


def test_optimizer_configs_name_no_backend():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.1, clipnorm=2.0))
    config = _keras.portable_config(keras.saving.serialize_keras_object(optimizer))
    assert "keras.src" not in str(config)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again.inner_optimizer) is type(optimizer.inner_optimizer)
    assert again.inner_optimizer.clipnorm == 2.0


def test_graph_access():
    inputs = keras.Input((2,))
    dense, relu = layers.Dense(3), layers.Activation("relu")
    hidden = dense(inputs)
    keras.Model(inputs, relu(hidden))
    assert _keras.input_tensors(relu) == [hidden]
    assert _keras.producer(hidden) is dense
    assert _keras.input_tensors(layers.Dense(3)) == []
    assert _keras.producer(object()) is None


class Counting(layers.Layer):
    """A layer of a user's, that counts its calls."""

    def __init__(self):
        super().__init__()
        self.one, self.other = layers.Dense(4), layers.Dense(4)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="int32")

    def build(self, shape):
        self.one.build(shape)
        self.other.build((*shape[:-1], 4))

    def call(self, x, scale=1.0, training=None):
        self.calls.assign_add(1)
        self.add_loss(0.1 * keras.ops.sum(x))
        y = self.one(x)
        if training:
            raise AssertionError("read in inference mode only")
        return keras.ops.concatenate([y, self.other(y) * scale], axis=-1)


class AsksForValues(Counting):
    def call(self, x):
        return self.one(keras.ops.convert_to_numpy(x))


def nodes(layer):
    return [(len(one._inbound_nodes), len(one._outbound_nodes)) for one in (layer.one, layer.other)]


def test_what_a_layer_calls_is_read_without_a_trace():
    layer = Counting()
    outer = keras.Model(inputs := keras.Input((3,)), layer(inputs))
    batch = np.ones((2, 3), "float32")
    expected = outer(batch)
    calls, before = int(layer.calls.value), nodes(layer)
    found = _keras.traced(layer, (inputs,), {"scale": 2.0})
    assert [getattr(call[0], "name", "").split("_")[0] for call in found.calls] == [
        "dense",
        "dense",
        "multiply",
        "concatenate",
    ]
    assert [call[0] for call in found.calls[:2]] == [layer.one, layer.other]
    assert found.inputs[0] is found.calls[0][3][0]
    assert found.inputs[0] is not inputs
    assert tuple(found.outputs[0].shape) == (None, 8)
    assert nodes(layer) == before
    assert int(layer.calls.value) == calls
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (outer(batch), expected)))
    assert len(outer.losses) == 1


def test_a_layer_that_asks_for_values_is_not_read():
    layer = AsksForValues()
    layer.build((2, 3))
    assert _keras.traced(layer, (keras.Input((3,)),), {}) is None
    assert nodes(layer) == [(0, 0), (0, 0)]


def test_buffers_are_not_what_is_frozen():
    model = mlp()
    model.trainable = False
    assert {v.name for v in _keras.buffers(model)} == {"moving_mean", "moving_variance"}


@pytest.mark.parametrize("scaled", [False, True])
def test_the_variables_an_optimizer_was_built_for(scaled):
    model = mlp(4)
    optimizer = keras.optimizers.Adam()
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    found = _keras.optimized_variables(optimizer)
    assert [id(v) for v in found] == [id(v) for v in model.trainable_variables]


def test_remote_paths():
    assert all(_keras.is_remote(path) for path in ("gs://bucket/pair.keras", "hf://user/pair", "s3://b/x.weights.h5"))
    assert not any(_keras.is_remote(path) for path in ("pair.keras", "/tmp/pair.keras", "a:b/pair.keras"))


@pytest.mark.parametrize(("answer", "expected"), [("y", True), ("n", False)])
def test_asks_to_overwrite(monkeypatch, answer, expected):
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert _keras.asks_to_overwrite("pair.keras") is expected


def test_the_restored_epoch_is_remembered_for_every_later_fit(tmp_path):
    """If Keras forgets it by itself one day, so can `forget_initial_epoch` be."""
    x, y = vectors()
    model = mlp()
    model.compile("sgd", crossentropy())
    keep = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"), delete_checkpoint=False)
    model.fit(x, y, epochs=1, verbose=0, callbacks=[keep])
    assert model.fit(x, y, epochs=2, verbose=0, callbacks=[keep]).epoch == [1]
    assert model.fit(x, y, epochs=1, verbose=0).epoch == []
    _keras.forget_initial_epoch(model)
    assert model.fit(x, y, epochs=1, verbose=0).epoch == [0]


def test_the_global_seed_is_what_unseeded_calls_draw_from():
    before = keras.ops.convert_to_numpy(_keras.global_seed().value).copy()
    keras.random.uniform((1,))
    assert (keras.ops.convert_to_numpy(_keras.global_seed().value) != before).any()


def test_what_callbacks_ask_for_the_direction_of_a_metric():
    """`MonitorCallback` looks at `metrics` of a `MetricsList`, for a `name` and a `_direction`."""
    assert issubclass(_keras.MetricsList, keras.metrics.Metric)
    assert _keras.MetricsList is not keras.metrics.Metric
    model = mlp()
    model.compile(
        "sgd", crossentropy(), metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top")]
    )
    x, y = vectors()
    model.evaluate(x, y, verbose=0)
    assert _keras.directions(model) == {"loss": "down", "accuracy": "up", "top": "up"}


def test_results_as_a_list():
    model = mlp()
    model.compile("sgd", crossentropy(), metrics=["accuracy"])
    x, y = vectors()
    expected, logs = model.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0, return_dict=True)
    own = _keras.own_loss_and_metrics(model)
    assert own == model.metrics
    assert _keras.flatten_metrics_in_order(own, logs) == expected
    assert _keras.flatten_metrics_in_order(own, {"loss": 1.0}) == 1.0
    assert _keras.flatten_metrics_in_order(own, {"z": 2.0, "loss": 1.0, "a": 3.0}) == [1.0, 3.0, 2.0]


def test_the_call_of_an_outer_model():
    seen = []

    class Inner(layers.Layer):
        def call(self, x):
            seen.append(_keras.is_part_of_a_call(self))
            return x

    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def call(self, x):
            return self.inner(x)

    outer, ones = Outer(), keras.ops.ones((1, 2))
    outer(ones)
    seen.clear()  # the first call also builds
    outer(ones)
    outer.inner(ones)
    outer.stateless_call([], [], ones)  # how models train under JAX
    assert seen == [True, False, True]


def test_the_old_file_format_is_told(tmp_path):
    told = []

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def get_config(self):
            told.append(_keras.writes_legacy_hdf5())
            return {}

    model = Model()
    model(keras.ops.ones((1, 2)))
    model.save(tmp_path / "model.keras")
    assert not any(told)
    told.clear()
    model.save(tmp_path / "model.h5")
    assert any(told)


def test_optimizers_of_keras_are_recognised():
    class Own(keras.optimizers.SGD):
        pass

    assert _keras.stock_class(keras.optimizers.AdamW()) == "AdamW"
    assert _keras.stock_class(keras.optimizers.Muon()) == "Muon"
    assert _keras.stock_class(Own()) is None


def test_the_map_of_a_multi_optimizer():
    chosen = keras.optimizers.OptimizerMap(keras.optimizers.SGD())
    assert _keras.optimizer_map(keras.optimizers.MultiOptimizer(chosen)) is chosen


def test_optimizers_update_by_the_method_that_is_replaced():
    variable = keras.Variable([1.0, 2.0])
    optimizer = keras.optimizers.SGD(1.0)
    update, seen = _keras.update_steps(optimizer), []
    optimizer.build([variable])
    with _keras.method_replaced(optimizer, update.__name__, lambda *args: (seen.append(args), update(*args))):
        optimizer.apply([keras.ops.ones(2)], [variable])
    optimizer.apply([keras.ops.ones(2)], [variable])
    (((_,), (updated,), rate),) = seen
    assert updated is variable
    assert float(rate) == 1.0
    assert keras.ops.convert_to_numpy(variable.value).tolist() == [-1.0, 0.0]


def test_nadam_keeps_a_product():
    optimizer = keras.optimizers.Nadam(beta_1=0.9)
    optimizer.build([variable := keras.Variable([1.0])])
    optimizer.apply([keras.ops.ones(1)], [variable])
    product = keras.ops.convert_to_numpy(_keras.momentum_product(optimizer).value)
    assert product == pytest.approx(0.9 * (1 - 0.48))
    assert _keras.momentum_product(keras.optimizers.Adam()) is None


def test_logits_distillation_compares_logits_as_probabilities():
    """If this fails, Keras has mended its default, and `training/distillation.py` need not refuse it."""
    teacher, student = np.array([[2.0, -1.0, 0.0]], "float32"), np.array([[0.0, 1.0, -3.0]], "float32")
    by_default = keras.distillation.LogitsDistillation()
    by_object = keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence())
    assert _keras.is_plain_divergence(by_default.loss)
    assert not _keras.is_plain_divergence(by_object.loss)
    p, q = (np.exp(logits / 3) / np.exp(logits / 3).sum() for logits in (teacher, student))
    expected = 9 * float(np.sum(p * np.log(p / q)))
    assert float(by_object.compute_loss(teacher, student)) == pytest.approx(expected, rel=1e-4)
    assert float(by_default.compute_loss(teacher, student)) > 2 * expected


# ---- What `compile` makes ----------------------------------------------------------------------------------------


def test_a_model_has_for_a_while_what_another_one_was_compiled_with():
    """Its loss, metrics and logs are then those of the other one, and afterwards its own again."""
    x, y = np.ones((4, 5), "float32"), np.zeros((4, 3), "float32")
    model, other = (keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)]) for _ in range(2))
    other.compile("adam", "mse", metrics=["mae"])
    for compiled in (False, True):
        if compiled:
            model.compile("sgd", "mae")
        before = {name: value for name, value in vars(model).items() if name in COMPILED}
        with _keras.compiled_as(model, other):
            assert model.optimizer is other.optimizer
            y_pred = model(x)
            loss = model.compute_loss(x, y, y_pred)
            np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (loss, keras.ops.mean(y_pred**2))), rtol=1e-6)
            assert set(model.compute_metrics(x, y, y_pred)) == {"loss", "mae"}
            assert [metric.name for metric in model.metrics] == ["loss", "compile_metrics"]
        assert {name: value for name, value in vars(model).items() if name in COMPILED} == before


def test_the_arguments_of_compile_are_kept_as_they_came():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    assert _keras.compile_arguments(model) == {}
    metric = keras.metrics.MeanAbsoluteError()
    model.compile("sgd", "mse", loss_weights=[2.0], weighted_metrics=[metric], steps_per_execution=1)
    found = _keras.compile_arguments(model)
    assert (found["loss"], found["loss_weights"], found["metrics"]) == ("mse", [2.0], None)
    assert found["weighted_metrics"] == [metric]
    assert found["optimizer"] is model.optimizer
    assert {"run_eagerly", "steps_per_execution", "jit_compile"} <= set(found)


def test_metrics_that_are_built_late_say_so():
    assert _keras.has_result(keras.metrics.Mean())
    score = keras.metrics.F1Score()
    assert not _keras.has_result(score)
    score.update_state(np.eye(3), np.eye(3))
    assert _keras.has_result(score)
