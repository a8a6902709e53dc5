"""Small nested pairs and data that the tests share. Weights and data come from numpy, so all backends see the same."""

import keras
import numpy as np
from keras import layers

import keras_motivation as km


def some(cases):
    """All cases under PyTorch, half of them under JAX, the other half under TensorFlow, which compile for minutes.

    For cases that differ in something that is the same code on every backend.
    """
    first, step = {"torch": (0, 1), "jax": (0, 2), "tensorflow": (1, 2)}[keras.backend.backend()]
    return list(cases)[first::step]


@keras.saving.register_keras_serializable(__name__)
class Alternate(km.MotivationCondition):
    """Every second batch is motivated, whatever the loss."""

    def update(self, loss):
        return keras.ops.logical_not(self.motivated)


def resnet(width=4, blocks=1, side=6, classes=3, norm=True, **kwargs):
    """A residual net whose blocks and channels can be extended. All layers with weights are named."""
    inputs = keras.Input((side, side, 2))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="stem")(inputs)
    for i in range(blocks):
        y = layers.BatchNormalization(momentum=0.9, name=f"norm{i}")(x) if norm else x
        y = layers.Conv2D(width, 3, padding="same", name=f"conv{i}", **kwargs)(layers.Activation("relu")(y))
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="head")(x), name=f"resnet_{width}_{blocks}")


def mlp(width=8, hidden=1, features=5, classes=3, norm=True):
    """A multi-layer perceptron whose hidden layers can be extended in number and width."""
    inputs = keras.Input((features,))
    x = layers.Dense(width, name="first")(inputs)
    for i in range(hidden):
        y = layers.BatchNormalization(momentum=0.9, name=f"norm{i}")(x) if norm else x
        x = layers.Add()([x, layers.Dense(width, name=f"hidden{i}")(layers.Activation("relu")(y))])
    return keras.Model(inputs, layers.Dense(classes, dtype="float32", name="head")(x), name=f"mlp_{width}_{hidden}")


def randomise(model, seed=0):
    """Gives a model weights from numpy: the same on every backend, and nowhere a special value like 0 or 1."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        scale = 0.5 / np.sqrt(np.prod(v.shape[:-1]) or 1) if len(v.shape) > 1 else 0.1
        value = rng.normal(size=v.shape) * scale
        v.assign(1 + np.abs(value) if v.name in ("gamma", "moving_variance") else value)
    return model


def pair_of(kind, build=resnet):
    """A base and a motivated model: `depth` extends blocks, `both` blocks and channels."""
    sizes = {"depth": ((4, 1), (4, 2)), "width": ((4, 1), (6, 1)), "both": ((4, 1), (6, 2))}[kind]
    base, motivated = randomise(build(*sizes[0]), 1), randomise(build(*sizes[1]), 2)
    for layer in base.layers:  # nested by value from the start, so that the motivated model can be compared on its own
        for inner, outer in zip(layer.weights, motivated.get_layer(layer.name).weights if layer.weights else []):
            value = np.array(numpy(outer))
            value[tuple(slice(0, n) for n in inner.shape)] = numpy(inner)
            outer.assign(value)
    return base, motivated


def images(batches=8, batch=4, side=6, classes=3, seed=0):
    """Noise images with a learnable label, as `(x, y)` of shapes (batches * batch, side, side, 2) and (n,)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batches * batch, side, side, 2))
    return x.astype(keras.config.floatx()), (np.abs(x.mean(axis=(1, 2, 3))) * 3 * side).astype("int32") % classes


def vectors(batches=8, batch=4, features=5, classes=3, seed=0):
    """As `images`, with feature vectors of shape (n, features)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batches * batch, features))
    return x.astype(keras.config.floatx()), (np.abs(x.sum(axis=1)) * 2).astype("int32") % classes


def numpy(variable):
    return keras.ops.convert_to_numpy(variable.value)


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def values(model):
    """The model's weights as numpy arrays."""
    return [numpy(v) for v in model.weights]


def assert_same_weights(model, reference, rtol=1e-4, atol=1e-6):
    assert len(model.weights) == len(reference.weights)
    for v, actual, expected in zip(model.weights, values(model), values(reference)):
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=v.path)


def compiled(motivation=None, kind="both", cls=km.MotivatedModel, **kwargs):
    """A compiled pair of multi-layer perceptrons; every second batch is motivated unless told otherwise.

    Its extension starts as built, so that the motivated model can be compared with a stock one from the first batch.
    """
    model = cls(*pair_of(kind, mlp), extension="random")
    model.compile("adam", crossentropy(), motivation=motivation or Alternate(), **kwargs)
    return model


def fit(model, shuffle=False, **kwargs):
    """Fits on the vectors, 8 batches of 4."""
    x, y = vectors()
    return model.fit(x, y, batch_size=4, shuffle=shuffle, verbose=0, **kwargs)


class Recorder(keras.callbacks.Callback):
    """Loss of every batch and whether it was motivated, taken from the running means in the logs.

    Exact for batches of equal size.
    """

    def __init__(self):
        super().__init__()
        self.losses, self.motivated = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self._sums = np.zeros(2)

    def on_train_batch_end(self, batch, logs=None):
        sums = (batch + 1) * np.array([float(logs["loss"]), float(logs["motivated"])])
        loss, motivated = sums - self._sums
        self._sums = sums
        self.losses.append(loss)
        self.motivated.append(bool(round(motivated)))


@keras.saving.register_keras_serializable(__name__)
class Held(km.MotivationCondition):
    """Goes on with the level that the test has chosen."""

    def update(self, loss):
        return self.level.value


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, batch=4):
        super().__init__()
        self.x, self.y, self.batch = x, y, batch

    def __len__(self):
        return len(self.x) // self.batch

    def __getitem__(self, i):
        part = slice(i * self.batch, (i + 1) * self.batch)
        return self.x[part], self.y[part]


def assert_in_step(base, motivated):
    """The base's trained weights stand in the motivated model, by layer name and as prefixes."""
    for layer in base.layers:
        if not layer.weights:
            continue
        for inner, outer in zip(layer.trainable_weights, motivated.get_layer(layer.name).trainable_weights):
            window = tuple(slice(0, n) for n in inner.shape)
            np.testing.assert_array_equal(numpy(outer)[window], numpy(inner))
