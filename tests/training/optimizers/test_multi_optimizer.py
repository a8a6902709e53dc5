"""`keras.optimizers.MultiOptimizer`: a part of the model, or the extension, with an optimizer of its own."""

import keras
import numpy as np
import pytest
from helpers import Alternate, Held, assert_same_weights, crossentropy, mlp, numpy, pair_of, values, vectors
from keras.optimizers import SGD, Adam, AdamW, MultiOptimizer, OptimizerMap
from race import fit_both

import keras_motivation as km


@keras.saving.register_keras_serializable(__name__)
def anew(variable):
    """As in Keras's own example: an optimizer for each variable."""
    return Adam(0.01) if "hidden" in variable.path else SGD(0.05, momentum=0.9)


def by_map():
    return MultiOptimizer(OptimizerMap(SGD(0.05, momentum=0.9), {"hidden.*": Adam(0.01)}))


def clipped():
    rest = {"hidden.*": Adam(0.01, clipnorm=0.02), "first.*": SGD(0.1, global_clipnorm=0.02)}
    return MultiOptimizer(OptimizerMap(SGD(0.05), rest))


def decayed_and_scaled():
    decay = keras.optimizers.schedules.CosineDecay(0.05, decay_steps=12)
    several = OptimizerMap(AdamW(decay, weight_decay=0.1), {"norm.*": SGD(0.1, use_ema=True)})
    return keras.optimizers.LossScaleOptimizer(MultiOptimizer(several), initial_scale=4.0)


EAGER = True

OPTIMIZERS = {"callable": lambda: MultiOptimizer(anew), "clipped": clipped, "scaled": decayed_and_scaled}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("which", [0, 1], ids=["never", "always"])
def test_equals_the_stock_model(which, optimizer):
    stock, pair, _, expected, history = fit_both(which, OPTIMIZERS[optimizer])
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4, atol=1e-6)
    assert_same_weights(pair.motivated if which else pair.base, stock, rtol=2e-4, atol=2e-6)
    assert int(pair.optimizer.iterations) == int(stock.optimizer.iterations) == 16


def per_extension(base, extension):
    return MultiOptimizer(km.ExtensionOptimizerMap(base, extension))


def small(width, hidden):
    return mlp(width, hidden, norm=False)


def train(optimizer, kind="both", epochs=1, eager=EAGER):
    model = km.MotivatedModel(*pair_of(kind, small), extension="random")
    # What these tests look at is the same in a compiled step, which takes TensorFlow and JAX seconds to make.
    model.compile(optimizer, crossentropy(), motivation=Alternate(), run_eagerly=eager)
    x, y = vectors()
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("kind", ["adamw", "accumulated"])
def test_two_alike_are_one(kind):
    """The base's and the extension's optimizer of the same kind, in batches of both kinds: as a single one."""
    kwargs = {"adamw": {"clipnorm": 0.05}, "accumulated": {"gradient_accumulation_steps": 2}}[kind]

    def one():
        rate = keras.optimizers.schedules.CosineDecay(0.05, decay_steps=12)
        return AdamW(rate, weight_decay=0.1, **kwargs)

    single, several = (
        train(each, epochs=2, eager=kind == "accumulated") for each in (one(), per_extension(one(), one()))
    )
    assert_same_weights(several, single)
    iterations = {int(optimizer.iterations) for optimizer in several.optimizer.optimizers}
    assert iterations == {int(single.optimizer.iterations)}
    np.testing.assert_array_equal(numpy(several.update_window.extension_batches[0]), 8)


def test_another_rate_for_the_extension():
    models = [train(per_extension(SGD(0.05), SGD(rate))) for rate in (0.05, 0.0)]
    start = km.MotivatedModel(*pair_of("both", small), extension="random")
    for model, moves in zip(models, (True, False)):
        for v, old in zip(model.extension_variables, start.extension_variables):
            entry = next((e for e in model.weights_map.entries if e.motivated is v), None)
            own = np.ones(v.shape, bool)
            if entry is not None:
                own[tuple(slice(0, size) for size in entry.base.shape)] = False
            assert np.array_equal(numpy(v)[own], numpy(old)[own]) != moves, v.path
    assert not np.array_equal(values(models[1].base)[0], values(start.base)[0])


def test_windows_of_accumulation_of_different_length():
    """A decision stands until all have updated: for 6 batches, where one gathers 2 and another 3."""
    optimizer = per_extension(SGD(0.05, gradient_accumulation_steps=2), SGD(0.05, gradient_accumulation_steps=3))
    model = km.MotivatedModel(*pair_of("both", small), extension="random")
    model.compile(optimizer, crossentropy(), motivation=Alternate(), run_eagerly=EAGER)
    history = km.MotivationHistory()
    x, y = vectors(18)
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[history])
    assert list(history.motivated) == [False] * 6 + [True] * 6 + [False] * 6
    assert int(model.update_window.extension_batches[0].value) == 6


SAVED = {
    "map": by_map,
    "callable": lambda: MultiOptimizer(anew),
    "extension": lambda: per_extension(AdamW(0.01), Adam(0.03)),
}


@pytest.mark.parametrize(
    ("kind", "whole"), [("map", True), ("callable", True), ("extension", True), ("extension", False)]
)
def test_saved_loaded_and_going_on(kind, whole, tmp_path):
    model = train(SAVED[kind]())
    if whole:
        model.save(tmp_path / "pair.keras")
        loaded = keras.saving.load_model(tmp_path / "pair.keras")
        loaded.run_eagerly = EAGER
    else:
        model.save_weights(tmp_path / "pair.weights.h5")
        loaded = km.MotivatedModel(*pair_of("both", small))
        loaded.compile(SAVED[kind](), crossentropy(), motivation=Alternate(), run_eagerly=EAGER)
        loaded.load_weights(tmp_path / "pair.weights.h5")
    assert int(loaded.update_window.extension_batches[0].value) == 4
    x, y = vectors()
    for each in (model, loaded):
        each.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    theirs = [*loaded.variables, *loaded.optimizer.variables]
    for v, actual, expected in zip(theirs, theirs, [*model.variables, *model.optimizer.variables], strict=True):
        np.testing.assert_array_equal(numpy(actual), numpy(expected), err_msg=v.path)


def test_a_file_of_other_optimizers_is_refused(tmp_path):
    train(per_extension(SGD(0.1), Adam(0.1))).save_weights(tmp_path / "pair.weights.h5")
    other = km.MotivatedModel(*pair_of("both", small))
    other.compile(per_extension(Adam(0.1), SGD(0.1)), crossentropy())
    with pytest.raises(ValueError, match=r"MultiOptimizer\(Adam, SGD\) in the pair, MultiOptimizer\(SGD, Adam\) in"):
        other.load_weights(tmp_path / "pair.weights.h5")


def test_clipping_of_accumulated_gradients_is_refused_in_any_part():
    optimizer = per_extension(SGD(0.1), SGD(0.1, clipnorm=1.0, gradient_accumulation_steps=2))
    train(optimizer, kind="depth")
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps=2, clipnorm=1\.0"):
        train(per_extension(SGD(0.1), SGD(0.1, clipnorm=1.0, gradient_accumulation_steps=2)))


def test_the_count_belongs_to_the_optimizer(tmp_path):
    x, y = vectors(4)
    model = train("adam", kind="width")
    model.compile("adam", crossentropy(), motivation=Alternate(), run_eagerly=EAGER)

    def count(**kwargs):
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0, **kwargs)
        return int(model.update_window.extension_batches[0].value)

    assert count() == 2
    model.compile(model.optimizer, crossentropy(), motivation=model.motivation, run_eagerly=EAGER)
    assert count() == 4
    weights = km.MotivatedModel(*pair_of("width", small))
    weights.save_weights(tmp_path / "alone.weights.h5")
    with (
        pytest.warns(UserWarning, match="Skipping variable loading for optimizer"),
        pytest.warns(UserWarning, match="The file holds no memory of the motivation condition"),
    ):
        model.load_weights(tmp_path / "alone.weights.h5")
    assert count() == 6  # as the optimizer's own, these stay
    model.compile("adam", crossentropy(), motivation=Alternate(), run_eagerly=EAGER)
    assert count() == 2


def test_a_map_without_a_pair_says_so():
    model = mlp()
    model.compile(per_extension(SGD(), SGD()), crossentropy())
    with pytest.raises(ValueError, match=r"pass it to `MotivatedModel\.compile` in a `MultiOptimizer`"):
        model.fit(*vectors(), verbose=0)
    with pytest.raises(TypeError, match="`extension_optimizer` must be a Keras optimizer"):
        km.ExtensionOptimizerMap(SGD(), "sgd")


def test_single_batches_of_a_pair_that_was_never_fitted():
    model = km.MotivatedModel(*pair_of("both", small))
    model.compile(MultiOptimizer(anew), crossentropy(), motivation=Held(), run_eagerly=EAGER)
    x, y = vectors(1)
    losses = [float(model.train_on_batch(x, y)) for _ in range(3)]
    assert losses[2] < losses[0]
    assert len(model.optimizer.optimizers) == len(model.trainable_variables)
