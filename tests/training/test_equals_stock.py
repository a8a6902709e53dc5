"""`Never` is `base.fit` and `Always` is `motivated.fit`, whatever the optimizer does besides."""

import keras
import numpy as np
import pytest
from helpers import assert_same_weights, crossentropy, numpy, randomise, some, vectors
from race import extension, fit_both

import keras_motivation as km


def decaying():
    return keras.optimizers.schedules.CosineDecay(0.1, decay_steps=12)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "schedule": lambda: keras.optimizers.SGD(decaying()),
    "clipnorm": lambda: keras.optimizers.SGD(0.5, clipnorm=0.05),
    "global_clipnorm": lambda: keras.optimizers.SGD(0.5, global_clipnorm=0.1),
    "clipvalue": lambda: keras.optimizers.SGD(0.5, clipvalue=0.01),
    "ema": lambda: keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5),
    "ema_overwrite": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3),
}


@pytest.mark.parametrize("optimizer", some(OPTIMIZERS))
@pytest.mark.parametrize("which", [0, 1], ids=["never", "always"])
def test_equals_the_stock_model(which, optimizer):
    stock, pair, _, expected, history = fit_both(which, OPTIMIZERS[optimizer])
    assert history["motivated"] == [float(which)] * 2
    for name, series in expected.items():
        np.testing.assert_allclose(history[name], series, rtol=1e-4, atol=1e-6, err_msg=name)
    assert_same_weights(pair.motivated if which else pair.base, stock, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("optimizer", [o for o in some(OPTIMIZERS) if "ema" not in o])
def test_never_leaves_the_extension_alone(optimizer):
    """No momentum, weight decay or slot touches weights outside the trained model."""
    _, pair, before, _, _ = fit_both(0, OPTIMIZERS[optimizer])
    after = extension(pair)
    moved = [v.path for v, old in zip(after, before) if not np.array_equal(numpy(v), old)]
    shared = {e.motivated.path for e in pair.weights_map.entries}
    own = {v.path for part in (pair.motivation, pair.trained_examples) for v in part.variables}
    assert set(moved) <= shared | own
    for entry, placement in zip(pair.weights_map.entries, pair.weights_map.placements):
        if placement.whole:
            continue
        # Of a widened weight, only the part that the base maps to may have been refreshed.
        old = next(b for v, b in zip(after, before) if v is entry.motivated)
        new = np.array(numpy(entry.motivated))
        new[placement.slices] = old[placement.slices]
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("which", [0, 1], ids=["never", "always"])
@pytest.mark.parametrize(("precision", "bits"), [("mixed_float16", 11), ("mixed_bfloat16", 8)])
def test_equals_the_stock_model_in_mixed_precision(precision, bits, which, request):
    request.getfixturevalue(precision)
    stock, pair, _, expected, history = fit_both(which, lambda: keras.optimizers.Adam(0.01))
    assert (type(pair.optimizer).__name__ == "LossScaleOptimizer") == (precision == "mixed_float16")
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=4 * 2.0**-bits)
    assert_same_weights(pair.motivated if which else pair.base, stock, rtol=100 * 2.0**-bits, atol=10 * 2.0**-bits)


@pytest.mark.usefixtures("mixed_float16")
def test_clipnorm_acts_on_whole_weights_under_a_loss_scale():
    stock, pair, _, expected, history = fit_both(1, lambda: keras.optimizers.SGD(0.5, clipnorm=0.05))
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=2e-3)
    assert_same_weights(pair.motivated, stock, rtol=5e-2, atol=5e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Dynamo turns a warning inside its tracing into an internal error
@pytest.mark.parametrize("which", [0, 1], ids=["never", "always"])
def test_equals_the_stock_model_when_compiled(which):
    """XLA under TensorFlow and JAX, `torch.compile` under PyTorch."""
    validation = {"validation_data": vectors()}
    stock, pair, _, expected, history = fit_both(
        which, OPTIMIZERS["adamw"], epochs=1, fit_kwargs=validation, jit_compile=True
    )
    np.testing.assert_allclose(history[("val_loss", "val_motivated_loss")[which]], expected["val_loss"], rtol=1e-4)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
    assert_same_weights(pair.motivated if which else pair.base, stock, rtol=1e-3, atol=1e-5)


def test_equals_the_stock_model_run_eagerly():
    stock, pair, _, expected, history = fit_both(1, OPTIMIZERS["sgd"], epochs=1, run_eagerly=True)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
    assert_same_weights(pair.motivated, stock)


def looked_up(words, width):
    inputs = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(words, width, name="table")(inputs)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Dense(width, "tanh", name="hidden")(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


@pytest.mark.parametrize(
    ("growth", "optimizer"), [((7, 5), "Adam"), ((9, 3), "Adam"), ((9, 5), "Adam"), ((9, 5), "SGD")], ids=str
)
def test_embeddings_that_grow(growth, optimizer):
    """Under TensorFlow their gradients are of single rows, which optimizers treat in their own way; rows recur here."""
    base, motivated = (randomise(looked_up(*size), i) for i, size in enumerate(((7, 3), growth)))
    pair = km.MotivatedModel(base, motivated, extension="random")
    stock = looked_up(*growth)
    stock.set_weights(pair.motivated.get_weights())
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, growth[0], (24, 6)), rng.integers(0, 3, 24)
    for model, kwargs in ((stock, {}), (pair, {"motivation": "always"})):
        model.compile(getattr(keras.optimizers, optimizer)(0.05), crossentropy(), **kwargs)
    arguments = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}
    expected = stock.fit(x, y, **arguments).history["loss"]
    np.testing.assert_allclose(pair.fit(x, y, **arguments).history["loss"], expected, rtol=1e-5)
    assert_same_weights(pair.motivated, stock, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("growth", [(7, 5), (9, 5)], ids=["width", "both"])
def test_embeddings_in_joint_batches(growth):
    """Equal to gradient descent on both models apart, since its steps add up."""
    models = [randomise(looked_up(*size), i) for i, size in enumerate(((7, 3), growth))]
    pair = km.MotivatedModel(*models, extension="random")
    apart = [looked_up(7, 3), looked_up(*growth)]
    for model, nested in zip(apart, (pair.base, pair.motivated)):
        model.set_weights(nested.get_weights())
        model.compile("sgd", crossentropy())
    start = np.array(numpy(pair.base.get_layer("table").embeddings))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 7, (8, 6)), rng.integers(0, 3, 8)
    pair.compile("sgd", crossentropy(), motivation="always", motivated_batch="joint")
    pair.train_on_batch(x, y)
    moved = 0.0
    for model in apart:
        model.train_on_batch(x, y)
        moved = moved + np.array(numpy(model.get_layer("table").embeddings))[:7, :3] - start
    found = np.array(numpy(pair.base.get_layer("table").embeddings)) - start
    np.testing.assert_allclose(found, moved, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("which", [0, 1], ids=["never", "always"])
def test_constraints_that_act_on_each_piece(which):
    """`MaxNorm` looks at each output channel: those of the base and those of the extension are apart."""

    def build(width):
        body = keras.layers.Dense(width, "relu", kernel_constraint=keras.constraints.MaxNorm(0.5), name="body")
        return keras.Sequential([keras.Input((5,)), body, keras.layers.Dense(3, name="head")])

    models = [randomise(build(width), width) for width in (4, 6)]
    pair = km.MotivatedModel(*models, extension="random")
    stock = build((4, 6)[which])
    stock.set_weights((pair.base, pair.motivated)[which].get_weights())
    for model, kwargs in ((stock, {}), (pair, {"motivation": ("never", "always")[which]})):
        model.compile(keras.optimizers.SGD(1.0), crossentropy(), **kwargs)
    x, y = vectors()
    arguments = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    expected = stock.fit(x, y, **arguments).history["loss"]
    np.testing.assert_allclose(pair.fit(x, y, **arguments).history["loss"], expected, rtol=1e-5)
    assert_same_weights((pair.base, pair.motivated)[which], stock)
