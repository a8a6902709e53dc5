"""Training hooks of a nested model's own, and models without any loss: refused, or named, before anything trains."""

import keras
import numpy as np
import pytest
from helpers import Alternate, crossentropy, mlp, pair_of, values, vectors
from keras import layers

import keras_motivation as km
from keras_motivation.training.checks.hooks import IGNORED, STEPS, overridden


def net(width, cls=keras.Sequential, name=None, last=()):
    stack = [keras.Input((5,)), layers.Dense(width, "relu", name="body"), layers.Dense(3, name="head"), *last]
    return cls(stack, name=name)


def own(*hooks):
    """A class of models with hooks of its own."""

    def broken(self, *args, **kwargs):
        raise AssertionError("not to be called")

    return type("Own", (keras.Sequential,), dict.fromkeys(hooks, broken))


@pytest.mark.parametrize("hook", STEPS)
@pytest.mark.parametrize("which", [0, 1])
def test_an_own_step_is_refused(hook, which):
    classes = [keras.Sequential, keras.Sequential]
    classes[which] = own(hook)
    with pytest.raises(
        ValueError, match=rf"Move.*`compute_loss`.*add_loss.*Received: 'mine' of class Own with `{hook}`"
    ):
        km.MotivatedModel(*(net(4 + i, cls, name="mine") for i, cls in enumerate(classes)))


def test_a_step_that_was_set_on_the_model_itself_is_refused():
    base = net(4)
    base.train_step = lambda *args: {}
    with pytest.raises(ValueError, match="with `train_step` of its own"):
        km.MotivatedModel(base, net(5))


def test_a_pair_is_no_base():
    with pytest.raises(ValueError, match="with `train_step` and `test_step`"):
        km.MotivatedModel(km.MotivatedModel(net(3), net(4)), net(5))


def test_other_hooks_are_named_with_what_to_do():
    cls = own(*IGNORED)
    with pytest.warns(UserWarning, match="The pair does not call") as caught:
        km.MotivatedModel(net(4, cls, name="mine"), net(5))
    told = [str(w.message) for w in caught if "The pair does not call" in str(w.message)]
    for hook, advice in IGNORED.items():
        assert sum(f"`{hook}` of 'mine'" in text and advice in text for text in told) == 1, hook
    assert len(told) == len(set(IGNORED.values()))


def test_a_subclass_of_the_pair_that_overrides_them_stands_for_them():
    class Pair(km.MotivatedModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.square(y_pred)) * 3.0

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return {**self.get_metrics_result(), "own": keras.ops.max(y_pred)}

    x, y = vectors()
    cls = own("compute_loss", "compute_metrics")
    model = Pair(net(4, cls), net(5, cls))  # warns of nothing
    model.compile("sgd", motivation=Alternate())  # needs no loss
    before = model.base.predict(x, verbose=0)
    logs = model.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(logs["loss"], 3 * np.mean(before**2), rtol=1e-5)
    assert "own" in logs


def test_stock_models_override_nothing():
    inputs = keras.Input((5,))
    for model in (net(4), keras.Model(inputs, layers.Dense(2)(inputs))):
        assert overridden(model) == []


# ---- No loss -----------------------------------------------------------------------------------------------------


class Penalty(layers.Layer):
    """Adds what its inputs are as a loss."""

    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x


NO_LOSS = "`loss` of the pair's `compile` must be given: '{}', {}, has no loss to train on"


def assert_refused_untrained(model, message, **kwargs):
    x, y = vectors()
    before = values(model.base) + values(model.motivated)
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match=message):
            train(x, y, **({"verbose": 0, "batch_size": 4} if train == model.fit else {}))
    for old, new in zip(before, values(model.base) + values(model.motivated)):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("motivation", ["never", "always"])
def test_no_loss_at_all(motivation):
    model = km.MotivatedModel(net(4, name="small"), net(5, name="large"))
    model.compile("sgd", motivation=motivation)
    assert_refused_untrained(
        model, NO_LOSS.format(*(("small", "the base") if motivation == "never" else ("large", "a motivated model")))
    )


@pytest.mark.parametrize("which", [0, 1])
def test_a_loss_in_one_of_the_models_only_is_noticed_before_either_trains(which):
    pair = [net(4 + i, name=("small", "large")[i], last=[Penalty()] if i == which else []) for i in range(2)]
    model = km.MotivatedModel(*pair)
    model.compile("sgd", motivation=km.Always() if which else km.Never())
    x, y = vectors()
    model.fit(x, y, verbose=0)  # the one that trains has a loss
    model.compile("sgd", motivation=Alternate())
    assert_refused_untrained(model, NO_LOSS.format(*(("large", "a motivated model"), ("small", "the base"))[which]))


def test_several_outputs_without_a_loss():
    def model(width):
        inputs = keras.Input((5,))
        x = layers.Dense(width, name="body")(inputs)
        return keras.Model(inputs, [layers.Dense(2, name=name)(x) for name in "ab"])

    pair = km.MotivatedModel(model(3), model(4))
    pair.compile("sgd", loss=[None, None], motivation="never")
    x, _ = vectors()
    # Under PyTorch, Keras tries the loss on symbols before the first step, and says it itself.
    with pytest.raises(ValueError, match=r"must be given: .*\[None, None\]|No loss to compute"):
        pair.fit(x, [np.ones((32, 2))] * 2, verbose=0)


@pytest.mark.parametrize("which", [0, 1])
def test_losses_that_layers_add_are_enough(which):
    x, _ = vectors()
    stock = net(4 + which, last=[Penalty()])
    pair = km.MotivatedModel(net(4, last=[Penalty()]), net(5, last=[Penalty()]), extension="random")
    stock.set_weights(values((pair.base, pair.motivated)[which]))
    stock.compile("adam", jit_compile=False)
    pair.compile("adam", motivation=("never", "always")[which], jit_compile=False)
    losses = [m.fit(x, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"] for m in (stock, pair)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    assert losses[0][1] < losses[0][0]


def test_a_task_of_keras_hub_knows_its_loss():
    hub = pytest.importorskip("keras_hub").models

    def vit(layers):
        sizes = {"num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "num_layers": layers}
        return hub.ViTImageClassifier(hub.ViTBackbone((4, 4, 1), patch_size=2, **sizes), num_classes=3, activation=None)

    model = km.MotivatedModel(vit(1), vit(2))  # its own `compile` and `fit` lose nothing, and nobody warns of them
    x, y = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype("float32"), np.array([0, 1, 2, 0])
    model.compile("sgd", motivation="never")
    expected = model.base.evaluate(x, y, verbose=0, return_dict=True)
    logs = model.train_on_batch(x, y, return_dict=True)
    assert set(logs) == {*expected, "motivated"} == {"loss", "sparse_categorical_accuracy", "motivated"}
    np.testing.assert_allclose(logs["loss"], expected["loss"], rtol=1e-5)
    model.compile("sgd", crossentropy(), metrics=[], motivation="never")
    assert set(model.train_on_batch(x, y, return_dict=True)) == {"loss", "motivated"}


class WithMetric(km.MotivatedModel):
    """Keras's own pattern for an objective of one's own: a metric made after `super().__init__`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mine = keras.metrics.Mean(name="mine")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True))
        self.mine.update_state(2.0 * loss)
        return loss


def test_a_subclass_keeps_a_metric_of_its_own():
    x, y = vectors()
    model = WithMetric(*pair_of("depth", mlp))
    model.compile("sgd", motivation=Alternate())
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y)).history
    np.testing.assert_allclose(history["mine"], 2 * np.array(history["loss"]), rtol=1e-5)
    np.testing.assert_allclose(history["val_motivated_mine"], 2 * np.array(history["val_motivated_loss"]), rtol=1e-5)
