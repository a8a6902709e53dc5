"""The record of batches and the cost of training, counted against what the condition was told to do."""

import keras
import numpy as np
import pytest
from helpers import Recorder, compiled, crossentropy, fit, mlp, pair_of, vectors

import keras_motivation as km

FLAGS = [False, True, True, False, False, False, True, False]
BACKEND = keras.backend.backend()


def scheduled(flags=FLAGS, run_eagerly=True, **kwargs):
    """A pair with given motivated batches; not compiled, to save time, but where that is tested."""
    return compiled(km.Schedule(flags), run_eagerly=run_eagerly, **kwargs)


@pytest.mark.parametrize("every", [3, 100])
def test_every_batch_is_recorded(every):
    model, record, reference = scheduled(FLAGS * 2, run_eagerly=False), km.MotivationHistory(every=every), Recorder()
    fit(model, epochs=2, callbacks=[record, reference])
    assert record.motivated.tolist() == FLAGS * 2 == reference.motivated
    np.testing.assert_allclose(record.losses, reference.losses, rtol=1e-4)
    assert [epoch.tolist() for epoch in record.epochs] == [FLAGS, FLAGS]
    assert (record.losses.dtype, record.motivated.dtype) == ("float32", "bool")


def test_recording_changes_nothing_and_reads_no_log_of_a_batch():
    """A callback with `on_train_batch_end` would have Keras fetch the logs of every batch."""
    base = keras.callbacks.Callback
    assert km.MotivationHistory.on_train_batch_end is base.on_train_batch_end
    assert km.MotivationHistory.on_batch_end is base.on_batch_end
    plain, recorded = compiled(), compiled()
    expected = fit(plain, epochs=2).history
    history = fit(recorded, epochs=2, callbacks=[km.MotivationHistory(every=2)]).history
    assert set(history) == set(expected) | {"cost_to_base", "cost_to_motivated"}
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6)


def test_the_last_batches_are_kept():
    record = km.MotivationHistory(limit=5, every=2)
    fit(scheduled(FLAGS * 2), epochs=2, callbacks=[record])
    assert record.motivated.tolist() == FLAGS[-5:]
    assert len(record.losses) == 5
    assert [epoch.tolist() for epoch in record.epochs] == [FLAGS[-5:]]


def test_a_second_fit_goes_on_and_an_unrecorded_one_is_left_out():
    model, record = scheduled(FLAGS * 3, run_eagerly=False), km.MotivationHistory(every=4)
    fit(model, callbacks=[record])
    step = model.train_function
    fit(model)
    fit(model, callbacks=[record])
    assert model.train_function is step  # nothing was traced again
    assert record.motivated.tolist() == FLAGS * 2
    assert len(record.epochs) == 2


def test_an_interrupted_epoch_is_recorded():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 5:
                self.model.stop_training = True

    record = km.MotivationHistory()
    fit(scheduled(), callbacks=[record, Stop()])
    assert record.motivated.tolist() == FLAGS[:6]


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no `steps_per_execution` above 1 there")
def test_several_steps_an_execution():
    record = km.MotivationHistory(every=2)
    fit(scheduled(steps_per_execution=4, run_eagerly=False), callbacks=[record])
    assert record.motivated.tolist() == FLAGS


def test_the_cost_is_the_counted_one():
    model, record = scheduled(), km.MotivationHistory()
    x, y = vectors(8)
    history = model.fit(x[:30], y[:30], batch_size=4, shuffle=False, verbose=0, callbacks=[record]).history
    base, motivated = (km.count_flops(m) for m in (model.base, model.motivated))
    examples = (18, 12)  # the last batch, a base batch, has 2
    cost = model.training_cost()
    assert cost.examples == examples
    assert cost.flops == 3 * (base * examples[0] + motivated * examples[1])
    assert (cost.base_alone, cost.motivated_alone) == (3 * 30 * base, 3 * 30 * motivated)
    assert history["cost_to_base"] == [pytest.approx(cost.relative_to_base, rel=1e-5)]
    assert history["cost_to_motivated"] == [pytest.approx(cost.relative_to_motivated, rel=1e-5)]
    assert base < motivated


def test_a_joint_batch_costs_both():
    model, record = scheduled([True] * 8, motivated_batch="joint"), km.MotivationHistory()
    history = fit(model, callbacks=[record]).history
    base, motivated = (km.count_flops(m) for m in (model.base, model.motivated))
    assert model.training_cost().flops == 3 * 32 * (base + motivated)
    assert history["cost_to_motivated"] == [pytest.approx((base + motivated) / motivated, rel=1e-5)]
    single = scheduled([True] * 8, motivated_batch=(2.0, 0.0))
    fit(single)
    assert single.training_cost().flops == 3 * 32 * base


def test_evaluation_does_not_count_and_has_no_cost():
    x, y = vectors()
    model, record = scheduled(), km.MotivationHistory()
    history = fit(model, callbacks=[record], validation_data=(x, y)).history
    assert not [name for name in history if name.startswith("val_") and ("cost" in name or name == "val_motivated")]
    assert "cost_to_base" not in model.evaluate(x, y, verbose=0, return_dict=True)
    assert sum(model.training_cost().examples) == 32


def test_the_count_goes_on_after_compiling_and_saving(tmp_path):
    model = scheduled()
    assert np.isnan(model.training_cost().relative_to_base)
    fit(model)
    model.compile("sgd", crossentropy(), motivation="never")
    fit(model)
    assert model.training_cost().examples == (32 + 20, 12)
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert loaded.training_cost() == model.training_cost()


def test_counts_beyond_32_bits():
    model = scheduled()
    for _ in range(9):
        model.trained_examples.count(((1, 1.0),), 2**30 - 1)
        model.reset_metrics()
    assert model.trained_examples.result() == model.trained_examples.trained() == (0, 9 * (2**30 - 1))


def test_refused():
    for name in ("limit", "every"):
        for value in (0, -1, 2.5, True):
            with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least 1. Received: {name}="):
                km.MotivationHistory(**{name: value})
    base = pair_of("both", mlp)[0]
    base.compile("sgd", crossentropy())
    with pytest.raises(TypeError, match="records the training of a `MotivatedModel`"):
        fit(base, callbacks=[km.MotivationHistory()])


def test_open_axes_leave_the_cost_out_unless_the_shape_is_given():
    def net(width):
        hidden = [keras.layers.Dense(width), keras.layers.GlobalAveragePooling1D()]
        return keras.Sequential([keras.Input((None, 3)), *hidden, keras.layers.Dense(1)])

    model = km.MotivatedModel(net(2), net(4))
    model.compile("sgd", "mse", motivation="always")
    x, y = np.ones((8, 5, 3), "float32"), np.ones((8, 1), "float32")
    record = km.MotivationHistory()
    with pytest.warns(UserWarning, match="without their cost.*`input_shape` must be given"):
        history = model.fit(x, y, batch_size=4, verbose=0, callbacks=[record]).history
    assert "cost_to_base" not in history
    assert record.motivated.tolist() == [True, True]
    history = model.fit(x, y, verbose=0, callbacks=[km.MotivationHistory(input_shape=(5, 3))]).history
    assert history["cost_to_motivated"] == [pytest.approx(1.0)]
    with pytest.raises(ValueError, match="`input_shape` must be the shape of one example"):
        model.fit(x, y, verbose=0, callbacks=[km.MotivationHistory(input_shape=(5, 4))])


def test_two_callbacks_record_side_by_side():
    model, records = scheduled(), [km.MotivationHistory(every=2), km.MotivationHistory(every=5)]
    fit(model, callbacks=records)
    assert [record.motivated.tolist() for record in records] == [FLAGS, FLAGS]


def test_batches_before_an_interruption_are_recorded():
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                raise KeyboardInterrupt

    model, record = scheduled(FLAGS * 2), km.MotivationHistory()
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[record, Interrupt()])
    assert record.motivated.tolist() == FLAGS[:3]
    fit(model, callbacks=[record])
    assert record.motivated.tolist() == (FLAGS * 2)[:11]
    assert sum(model.training_cost().examples) == 44


def test_setting_back_the_weights_does_not_set_back_the_count():
    """`EarlyStopping(restore_best_weights=True)` does so."""
    model = scheduled()
    before = model.get_weights()
    fit(model)
    model.set_weights(before)
    assert sum(model.training_cost().examples) == 32
    assert int(keras.ops.convert_to_numpy(model.motivation.batches.value)) == 8


def test_tensorboard_gets_every_batch(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = km.MotivationHistory(every=3, log_dir=tmp_path)
    fit(scheduled(FLAGS * 2), epochs=2, callbacks=[record])
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()

    def written(tag):
        found = events.Tensors(tag)
        assert [event.step for event in found] == list(range(16))
        return [event.tensor_proto.float_val[0] for event in found]

    np.testing.assert_allclose(written("batch/loss"), record.losses, rtol=1e-6)
    assert written("batch/level") == [float(flag) for flag in FLAGS * 2]
