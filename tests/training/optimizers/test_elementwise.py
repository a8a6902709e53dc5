"""Optimizers that look at a whole weight are refused where weights are stored in two pieces, and serve elsewhere."""

import inspect
import random

import keras
import numpy as np
import pytest
from helpers import assert_same_weights, crossentropy, mlp, pair_of
from race import fit_both

import keras_motivation as km
from keras_motivation import _keras
from keras_motivation.training.optimizers.elementwise import ELEMENTWISE, _compare, acts_elementwise

# Muon's own part needs matrices that are no embeddings, and the pair has them.
WHOLE = {
    "adafactor": lambda **kwargs: keras.optimizers.Adafactor(0.05, **kwargs),
    "lamb": lambda **kwargs: keras.optimizers.Lamb(0.05, **kwargs),
    "muon": lambda **kwargs: keras.optimizers.Muon(0.05, **kwargs),
}


class Signs(keras.optimizers.Optimizer):
    """A user's own: steps by the gradient's sign, times something of the whole weight."""

    def __init__(self, learning_rate=0.1, norm=False, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.norm = norm

    def update_step(self, gradient, variable, learning_rate):
        factor = keras.ops.mean(keras.ops.abs(gradient)) if self.norm else 1.0
        self.assign_sub(variable, keras.ops.cast(learning_rate, variable.dtype) * factor * keras.ops.sign(gradient))

    def get_config(self):
        return {**super().get_config(), "norm": self.norm}


class Closed(Signs):
    """One that cannot be copied."""

    def __init__(self, secret):
        super().__init__()

    def get_config(self):
        return {}


class Noisy(Signs):
    """One that never does the same twice."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient + keras.random.normal(()), variable, learning_rate)


def compiled(optimizer, kind="width"):
    model = km.MotivatedModel(*pair_of(kind, mlp))
    model.compile(optimizer, crossentropy())
    return model


def test_every_optimizer_of_keras_is_known_or_asked():
    classes = {name: c for name, c in vars(keras.optimizers).items() if inspect.isclass(c)}
    base = keras.optimizers.Optimizer
    stock = {n for n, c in classes.items() if issubclass(c, base) and n not in ("Optimizer", "TFOptimizer")}
    assert stock - {"LossScaleOptimizer", "MultiOptimizer", "Adafactor", "Lamb", "Muon"} == ELEMENTWISE


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_those_that_are_not_asked_would_pass(name):
    optimizer = getattr(keras.optimizers, name)(0.01, clipnorm=0.1)
    assert acts_elementwise(optimizer) is True
    assert _compare(optimizer) is True
    assert not optimizer.built
    assert optimizer.clipnorm == 0.1


@pytest.mark.parametrize("wrapped", ["alone", "scaled", "by map", "by callable"])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_weights_are_refused_in_two_pieces(name, wrapped):
    optimizer = WHOLE[name]()
    if wrapped == "scaled":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    elif wrapped == "by map":
        sgd = keras.optimizers.SGD()
        optimizer = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd, {"hidden0/.*": optimizer}))
    elif wrapped == "by callable":
        optimizer = keras.optimizers.MultiOptimizer(lambda variable: WHOLE[name]())
    with pytest.raises(
        ValueError, match=f"(?s)two pieces, and {type(WHOLE[name]()).__name__} uses the norm or shape.*only the depth"
    ):
        compiled(optimizer)


def test_they_serve_where_no_weight_is_in_two_pieces():
    """The head's bias is of the same shape in both."""
    rest = {"head/bias": WHOLE["adafactor"]()}
    compiled(keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.Adam(), rest)))
    model = km.MotivatedModel(*pair_of("width", mlp))
    for part in (model.base, model.motivated):
        for layer in part.layers[:-1]:
            layer.trainable = False
        part.layers[-1].trainable = False
    with pytest.warns(UserWarning, match="any trainable weights"):
        model.compile(WHOLE["lamb"](), crossentropy())


@pytest.mark.parametrize(("name", "which"), [("adafactor", 0), ("adafactor", 1), ("lamb", 1), ("muon", 1)])
def test_equals_the_stock_model_in_depth(name, which):
    stock, pair, _, expected, history = fit_both(which, WHOLE[name], kind="depth")
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-4)
    assert_same_weights(pair.motivated if which else pair.base, stock, rtol=1e-3, atol=2e-5)


def test_a_users_own_are_asked():
    compiled(Signs())
    compiled(Signs(norm=True), kind="depth")
    with pytest.raises(ValueError, match="two pieces, and Signs uses the norm or shape"):
        compiled(Signs(norm=True))


@pytest.mark.parametrize("optimizer", [lambda: Closed("secret"), Noisy], ids=["not copied", "not twice alike"])
def test_those_that_cannot_be_asked_are_warned_of(optimizer):
    compiled(optimizer(), kind="depth")
    with pytest.warns(UserWarning, match="could not be tried on a weight that is stored in two pieces"):
        compiled(optimizer())


@pytest.mark.parametrize(("kind", "answer"), [(Signs, True), (Noisy, None)])
def test_asking_draws_no_random_numbers_and_leaves_the_optimizer_alone(kind, answer):
    def state():
        seed = keras.ops.convert_to_numpy(_keras.global_seed().value)
        return str((seed, random.getstate(), np.random.get_state()[1].tolist())), optimizer.built, optimizer.variables

    optimizer = kind()
    before = state()
    assert acts_elementwise(optimizer) is answer
    assert state() == before


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="`tf.distribute` is TensorFlow's")
def test_asking_in_the_scope_of_a_strategy():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        assert acts_elementwise(Signs()) is True
        assert acts_elementwise(Signs(norm=True)) is False
        assert acts_elementwise(keras.optimizers.Muon()) is False


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="`keras.distribution` is JAX's")
def test_asking_under_a_distribution():
    with keras.distribution.DataParallel(devices=keras.distribution.list_devices()[:1]).scope():
        assert acts_elementwise(Signs()) is True
        assert acts_elementwise(Signs(norm=True)) is False
