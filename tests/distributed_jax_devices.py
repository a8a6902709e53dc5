"""Checks for `test_distributed_jax.py`, run as a script of its own: the count of devices is fixed when JAX starts."""

import contextlib
import functools
import pathlib
import re
import tempfile

import keras
import numpy as np
import pytest
from distributed import run_checks
from helpers import Alternate, assert_same_weights, crossentropy, mlp, randomise, values, vectors

import keras_motivation as km

X, Y = vectors(batches=6, batch=16)


def data_parallel():
    return keras.distribution.DataParallel()


def model_parallel(split=True):
    """2 x 4 devices: the batch over 2, and of `split` the columns of the hidden kernels over 4."""
    layouts = keras.distribution.LayoutMap(keras.distribution.DeviceMesh((2, 4), ("batch", "model")))
    if split:  # both models' variables have these paths
        layouts["(first|hidden.)/kernel"] = (None, "model")
        layouts["(first|hidden.)/bias"] = ("model",)
    return keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")


def pair(norm=False, width=12, family=False, **kwargs):
    larger = [mlp(width, 2, norm=norm), *([mlp(16, 2, norm=norm)] if family else [])]
    base, *larger = [randomise(model, seed) for seed, model in enumerate([mlp(8, norm=norm), *larger], start=1)]
    return km.MotivatedModel(base, larger, **kwargs)


def phases(level):
    return km.Phases((0.3, 0), (0.6, level), (1.0, km.LossStreak(1)))


def train(model, epochs=2, batch_size=16, motivation=None, callbacks=(), **kwargs):
    """The history and what happened batch by batch, validated after each epoch."""
    optimizer = keras.optimizers.Adam(0.02)
    condition = motivation or km.LossStreak(1)
    model.compile(optimizer, crossentropy(), metrics=["accuracy"], motivation=condition, **kwargs)
    return fit(model, epochs, batch_size, callbacks)


def fit(model, epochs=2, batch_size=16, callbacks=()):
    record = km.MotivationHistory()
    history = model.fit(
        X,
        Y,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        validation_data=(X[:32], Y[:32]),
        callbacks=[record, *callbacks],
    )
    return history.history, record


def assert_same_run(model, ran, reference, expected):
    """Same decisions, losses, logs (validation of both models too), weights and optimizer state."""
    (history, record), (expected_history, expected_record) = ran, expected
    assert len(set(expected_record.levels)) > 1
    np.testing.assert_array_equal(record.levels, expected_record.levels)
    np.testing.assert_allclose(record.losses, expected_record.losses, rtol=1e-4)
    assert history.keys() == expected_history.keys()
    for name, value in expected_history.items():
        np.testing.assert_allclose(history[name], value, rtol=1e-4, err_msg=name)
    assert_same_weights(model.base, reference.base)
    assert_same_weights(model.motivated, reference.motivated)
    slots, expected_slots = [[keras.ops.convert_to_numpy(v) for v in m.optimizer.variables] for m in (model, reference)]
    for value, slot in zip(slots, expected_slots, strict=True):
        np.testing.assert_allclose(value, slot, rtol=1e-4, atol=1e-6)


def assert_laid_out(model):
    """Every variable is where its layout says, weights and optimizer slots alike."""
    variables = [*model.base.variables, *model.motivated.variables, *model.variables, *model.metrics_variables]
    if model.compiled:
        variables += model.optimizer.variables
    for v in variables:
        assert v.value.sharding.is_equivalent_to(v._layout.backend_layout, len(v.shape)), v.path


def shard_shape(variable):
    return variable.value.addressable_shards[0].data.shape


@functools.cache
def one_device(norm=False, motivation=km.LossStreak, k=1, motivated_batch="alternate", distillation=None, **settings):
    """The run to compare with, and what it predicts; once for all checks that want the same."""
    model = pair(norm, **settings)
    ran = train(model, motivation=motivation(k), motivated_batch=motivated_batch, distillation=distillation)
    return model, ran, model.predict(X[:32], batch_size=16, verbose=0)


def equals_one_device(distribution, norm=False, dispatch="host", steps=1, **kwargs):
    """Trains on the same global batches, and compares; returns the pair."""
    reference, expected, predicted = one_device(norm, **kwargs)
    condition, k = kwargs.pop("motivation", km.LossStreak), kwargs.pop("k", 1)
    what = {"motivated_batch": kwargs.pop("motivated_batch", "alternate")}
    what["distillation"] = kwargs.pop("distillation", None)
    with distribution.scope():
        model = pair(norm, **kwargs)
        assert_laid_out(model)
        how = {"dispatch": dispatch, "steps_per_execution": steps, **what}
        assert_same_run(model, train(model, motivation=condition(k), **how), reference, expected)
        assert_laid_out(model)
        found = model.predict(X[:32], batch_size=16, verbose=0)
    np.testing.assert_allclose(found, predicted, rtol=1e-4, atol=1e-5)
    return model


def check_data_parallel_host():
    model = equals_one_device(data_parallel())
    assert all(v.value.sharding.is_fully_replicated and len(v.value.devices()) == 8 for v in model.variables)


def check_data_parallel_graph():
    equals_one_device(data_parallel(), dispatch="graph")


def check_data_parallel_loop():
    """6 batches as one loop of 4 and two single ones."""
    equals_one_device(data_parallel(), dispatch="graph", steps=4)


def check_model_parallel_host():
    """A base kernel of 8 columns, 2 a device, inside a motivated one of 12, 3 a device."""
    model = equals_one_device(model_parallel())
    base, motivated = [m.get_layer("hidden0").kernel for m in (model.base, model.motivated)]
    assert (shard_shape(base), shard_shape(motivated)) == ((8, 2), (12, 3))
    slots = [v for v in model.optimizer.variables if "hidden0_kernel" in v.path]
    assert sorted(map(shard_shape, slots)) == [(8, 2), (8, 2), (12, 3), (12, 3)]


def check_model_parallel_loop():
    equals_one_device(model_parallel(), dispatch="graph", steps=4)


def check_other_settings():
    """Shared batch-norm statistics, both losses at once, a start from the motivated model, a condition of spells."""
    settings = {"statistics": "shared", "initialize": "motivated", "motivated_batch": "joint"}
    equals_one_device(model_parallel(), norm=True, motivation=km.LossTrend, **settings)


def check_family():
    distillation = keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence())
    settings = {"motivated_batch": "sandwich", "distillation": distillation}
    equals_one_device(model_parallel(), family=True, motivation=phases, k=2, **settings)


def check_batch_norm():
    """Its statistics are those of the global batch, so even this equals one device; and all replicas agree."""
    model = equals_one_device(data_parallel(), norm=True)
    for v in model.variables:
        replicas = [np.asarray(shard.data) for shard in v.value.addressable_shards]
        assert len(replicas) == 8
        for replica in replicas[1:]:
            np.testing.assert_array_equal(replica, replicas[0], err_msg=v.path)


def check_layouts_may_differ():
    """The base whole on each device, the motivated model split: build each under a distribution of its own."""
    reference, expected, _ = one_device()
    with model_parallel(split=False).scope():
        base = randomise(mlp(8, norm=False), 1)
    with model_parallel().scope():
        model = km.MotivatedModel(base, randomise(mlp(12, 2, norm=False), 2))
        assert_same_run(model, train(model), reference, expected)
        assert_laid_out(model)
    assert shard_shape(model.base.get_layer("hidden0").kernel) == (8, 8)
    assert shard_shape(model.motivated.get_layer("hidden0").kernel) == (12, 3)


def check_the_work_is_divided():
    """Each device does an eighth of the computation, whichever way the batch and the kernels are split."""
    import jax

    def flops(distribution):
        with distribution.scope() if distribution else contextlib.nullcontext():
            model = pair()
            train(model, epochs=1)
            lists = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
            state = tuple([v.value for v in variables] for variables in (*lists, model.metrics_variables))
            x, y = np.repeat(X, 16, axis=0), np.repeat(Y, 16, axis=0)
            if distribution:
                x, y = [jax.device_put(a, distribution.get_data_layout(a.shape).backend_layout) for a in (x, y)]
            return jax.jit(model.train_step).lower(state, (x, y)).compile().cost_analysis()["flops"]

    alone = flops(None)
    for distribution in (data_parallel(), model_parallel()):
        assert flops(distribution) < 0.2 * alone


def check_saving():
    """From one device to a layout, on in another layout, and back to one device: the same run."""
    reference = pair()
    train(reference)
    expected = fit(reference)  # goes on
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "pair.keras"
        start = pair()
        train(start, epochs=1)
        start.save(path)
        with model_parallel().scope():
            model = keras.models.load_model(path)
            assert shard_shape(model.base.get_layer("hidden0").kernel) == (8, 2)
            fit(model, epochs=1)
            assert_laid_out(model)
            model.save(path)
        with data_parallel().scope():
            model = keras.models.load_model(path)
            ran = fit(model)
            assert_laid_out(model)
            model.save(path)
        assert_same_run(model, ran, reference, expected)
        assert_same_weights(keras.models.load_model(path).motivated, reference.motivated)


def check_callbacks():
    """They see current weights and may write them, without moving anything."""
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            model = self.model.motivated
            seen.append(float(np.abs(values(model)[0][:, :8] - values(self.model.base)[0]).max()))

    with tempfile.TemporaryDirectory() as folder, model_parallel().scope():
        path = pathlib.Path(folder) / "best.keras"
        stopping = keras.callbacks.EarlyStopping(
            "val_motivated_loss", mode="min", patience=9, restore_best_weights=True
        )
        checkpoint = keras.callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=True)
        backup = keras.callbacks.BackupAndRestore(pathlib.Path(folder) / "backup")
        model = pair()
        history, _ = train(model, epochs=3, callbacks=[stopping, checkpoint, backup, Look()])
        assert_laid_out(model)
        best = keras.models.load_model(path)
        loss = best.evaluate(X[:32], Y[:32], batch_size=16, verbose=0, return_dict=True)["loss"]
        np.testing.assert_allclose(loss, min(history["val_loss"]), rtol=1e-4)
    assert seen == [0.0] * 18


def check_what_does_not_fit_is_refused():
    """By Keras and JAX, with the shapes; the weights of the batches before stay."""
    with data_parallel().scope():
        model = pair()
        model.compile("sgd", crossentropy(), motivation=Alternate())
        before = values(model.base)
        with pytest.raises(ValueError, match="partitioned 8 times, but the dimension size is 4"):
            model.fit(X[:20], Y[:20], batch_size=16, shuffle=False, verbose=0)
        assert all(np.isfinite(value).all() for value in values(model.motivated))
        assert np.abs(values(model.base)[0] - before[0]).max() > 0
        assert_laid_out(model)
        model.fit(X, Y, batch_size=16, verbose=0)
    with model_parallel().scope(), pytest.raises(ValueError, match="partitioned 4 times, but the dimension size is 10"):
        pair(width=10)


def check_a_pair_from_before_the_distribution_is_refused():
    """Keras warns which variable it is; JAX raises."""
    model = pair()
    model.compile("sgd", crossentropy())
    with (
        data_parallel().scope(),
        pytest.warns(UserWarning, match="First local variable found: 'first/kernel'"),
        pytest.raises(ValueError, match="incompatible devices"),
    ):
        model.fit(X, Y, batch_size=16, verbose=0)


def check_the_documentation():
    """The blocks of the page's section on JAX, but for those that start several processes."""
    page = pathlib.Path(__file__).parent.parent / "docs" / "distributed.md"
    text = page.read_text().split("## PyTorch")[0]
    blocks = re.findall(r"^```(?:python|py)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    names = {}
    try:
        for block in blocks:
            if ".initialize(" not in block:
                exec(compile(block, str(page), "exec"), names)
    finally:
        keras.distribution.set_distribution(None)
    assert len(blocks) == 4
    assert shard_shape(names["model"].base.get_layer("hidden0").kernel) == (64, 16)
    assert shard_shape(names["model"].motivated.get_layer("hidden0").kernel) == (96, 24)


if __name__ == "__main__":
    run_checks(globals())
