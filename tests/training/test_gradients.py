"""Gradients through assembled weights, against the motivated model with explicitly copied weights."""

import keras
import numpy as np
import pytest
from helpers import crossentropy, images, numpy, pair_of, randomise, resnet
from keras import ops

import keras_motivation as km


def loss_and_gradients(variables, loss_fn, model=None):
    """The loss and its gradient by each variable, as numpy arrays, on whichever backend runs; perhaps by `model`."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_fn()
        if model:
            gradients = model._gradients(True, variables, tape, loss)
        else:
            gradients = tape.gradient(loss, [v.value for v in variables])
    elif backend == "torch":
        for v in variables:
            v.value.grad = None
        loss = loss_fn()
        if model:
            gradients = model._gradients(True, variables, loss)
        else:
            loss.backward()
            gradients = [v.value.grad for v in variables]
        loss = loss.detach()
    else:
        import jax

        def stateless(values):
            with keras.StatelessScope(state_mapping=list(zip(variables, values))):
                return loss_fn()

        loss, gradients = jax.value_and_grad(stateless)([v.value for v in variables])
    return float(loss), [np.array(ops.convert_to_numpy(g)) for g in gradients]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["depth", "width", "both"])
def test_gradients_equal_those_of_the_explicit_copy(kind):
    x, y = images(1, batch=8)
    reference = pair_of(kind)[1]  # `pair_of` copies the base's weights in
    expected_loss, expected = loss_and_gradients(
        reference.trainable_variables, lambda: crossentropy()(y, reference(x, training=True))
    )

    base, motivated = pair_of(kind)
    randomise(motivated, 3)  # what stands in the mapped part must not matter...
    for v, r in zip(motivated.weights, reference.weights):
        v.assign(r.value)  # ...but the extension does
    model = km.MotivatedModel(base, motivated, extension="random")
    model.compile("sgd", crossentropy(), motivation="always")
    variables = [v for own in model.trained_variables(1) for v in own]
    loss, gradients = loss_and_gradients(variables, lambda: model.minimised_loss(1, x, y, None)[0], model)
    by_variable = {id(v): g for v, g in zip(variables, gradients)}

    np.testing.assert_allclose(loss, expected_loss, rtol=1e-10)
    names = {layer.name for layer in base.layers}
    for layer in reference.layers:
        for i, weight in enumerate(layer.trainable_weights):
            full = expected[[v is weight for v in reference.trainable_variables].index(True)]
            own = motivated.get_layer(layer.name).trainable_weights[i]
            if layer.name in names:
                inner = base.get_layer(layer.name).trainable_weights[i]
                window = tuple(slice(0, n) for n in inner.shape)
                np.testing.assert_allclose(by_variable[id(inner)], full[window], rtol=1e-8, atol=1e-12)
                full = full.copy()
                full[window] = 0.0  # the stale part of a widened weight must get no gradient at all
            if id(own) in by_variable:
                np.testing.assert_allclose(by_variable[id(own)], full, rtol=1e-8, atol=1e-12)
            else:
                assert not full.any()


@pytest.mark.usefixtures("float64")
@pytest.mark.filterwarnings("ignore:Shared weights were written:UserWarning")  # says that they are lost
def test_what_stands_in_the_mapped_part_does_not_matter():
    """The motivated model's own copy of the shared weights is never read in training."""
    x, y = images(4)
    ends = []
    for spoil in (False, True):
        model = km.MotivatedModel(*pair_of("both"), statistics="shared", extension="random")
        model.compile("sgd", crossentropy(), motivation="always")
        if spoil:
            for entry, placement in zip(model.weights_map.entries, model.weights_map.placements):
                spoilt = np.array(numpy(entry.motivated))
                spoilt[placement.slices] = 1e6
                entry.motivated.assign(spoilt)
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        ends.append([numpy(v) for v in model.motivated.weights])
    for plain, spoilt in zip(*ends):
        np.testing.assert_allclose(spoilt, plain, rtol=1e-9)


def test_the_extension_receives_gradients():
    x, y = images(1)
    model = km.MotivatedModel(resnet(4, 1), resnet(6, 2), extension="random")
    model.compile("sgd", crossentropy(), motivation="always")
    variables = [v for own in model.trained_variables(1) for v in own]
    _, gradients = loss_and_gradients(variables, lambda: model.minimised_loss(1, x, y, None)[0], model)
    without = [v.path for v, g in zip(variables, gradients) if not np.abs(g).sum()]
    assert without == []
