"""Models as users write them whose class has an objective of its own."""

import dataclasses
from typing import Any

import keras
import numpy as np
from helpers import vectors
from keras import layers, ops


def graph(width, cls, **kwargs):
    """A small net of a class; all layers have names."""
    inputs = keras.Input((5,))
    x = layers.Dense(width, "tanh", name="body")(inputs)
    return cls(inputs, layers.Dense(3, name="head")(x), **kwargs)


@keras.saving.register_keras_serializable(__name__)
class Tracking(keras.Model):
    """As in the documentation of `Model.compute_loss`: its metrics are its own, and the only ones in `metrics`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.total = keras.metrics.Mean(name="loss")
        self.error = keras.metrics.MeanAbsoluteError(name="error")

    def compute_loss(self, x, y, y_pred, sample_weight, training=True):
        target = ops.one_hot(y, 3)
        loss = ops.mean(ops.square(y_pred - target)) + 0.01 * ops.mean(ops.square(x))
        self.total.update_state(loss)
        self.error.update_state(target, y_pred)
        return loss

    def reset_metrics(self):
        self.total.reset_state()
        self.error.reset_state()

    @property
    def metrics(self):
        return [self.total, self.error]


@keras.saving.register_keras_serializable(__name__)
class Configured(keras.Model):
    """Has a `compile` with an argument of its own, and results that are in no metric."""

    def compile(self, optimizer="sgd", margin=0.5, **kwargs):
        self.margin = margin
        super().compile(
            optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), **kwargs
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + self.margin * ops.mean(ops.relu(ops.abs(y_pred) - 1.0))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**results, "largest": ops.max(ops.abs(y_pred)), "nested": {"smallest": ops.min(y_pred)}}


@keras.saving.register_keras_serializable(__name__)
class Calling(keras.Model):
    """Runs layers again in its loss, with random numbers, and writes a variable that is not trained."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seed = keras.random.SeedGenerator(3)
        self.mean = self.add_weight(shape=(), initializer="zeros", trainable=False, name="mean")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        noise = keras.random.normal(ops.shape(x), seed=self.seed)
        other = self(x + 0.1 * noise, training=training)
        self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(other))
        return super().compute_loss(x, y, y_pred, sample_weight, training) + ops.mean(ops.square(other - self.mean))


@keras.saving.register_keras_serializable(__name__)
class Sampling(layers.Layer):
    """Draws from the normal distribution that an encoder gives, and adds the divergence as a loss."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(5)

    def call(self, inputs):
        mean, log_variance = inputs
        divergence = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        self.add_loss(0.1 * ops.mean(ops.sum(divergence, axis=1)))
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seed)


@keras.saving.register_keras_serializable(__name__)
class Autoencoder(keras.Model):
    """A variational autoencoder without a `train_step`. It has no targets."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.reconstruction = keras.metrics.Mean(name="reconstruction")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        reconstruction = ops.mean(ops.sum(ops.square(x - y_pred), axis=1))
        self.reconstruction.update_state(reconstruction)
        return reconstruction + sum(self.losses)

    def predict_step(self, *args):
        found = super().predict_step(*args)  # under JAX, the state is with it
        return (2.0 * found[0], found[1]) if isinstance(found, tuple) else 2.0 * found


def tracking(width):
    return graph(width, Tracking)


def configured(width):
    return graph(width, Configured)


def calling(width):
    return graph(width, Calling)


def autoencoder(width):
    inputs = keras.Input((5,))
    x = layers.Dense(width, "tanh", name="encoder")(inputs)
    code = Sampling(name="sampling")([layers.Dense(2, name="mean")(x), layers.Dense(2, name="spread")(x)])
    x = layers.Dense(width, "tanh", name="decoder", kernel_regularizer=keras.regularizers.L2(0.01))(code)
    return Autoencoder(inputs, layers.Dense(5, name="output")(x))


@dataclasses.dataclass(frozen=True)
class Own:
    """A case of a race."""

    build: Any
    compiled: dict[str, Any] = dataclasses.field(default_factory=dict)
    labelled: bool = True
    sizes: Any = ((4,), (6,))

    def data(self, model, count):
        x, y = vectors(count // 4)
        return x, (y.astype("int32") if self.labelled else None), None, "auto"


CASES = {
    "tracking": Own(tracking),
    "configured": Own(configured, {"margin": 0.2, "weighted_metrics": ["accuracy"]}),
    "calling": Own(calling, {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}),
    "autoencoder": Own(autoencoder, labelled=False),
}


def numbers(history):
    return {name: np.asarray(series, "float64") for name, series in history.items()}


# ---- What broke once ---------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(__name__)
class Adjusting(keras.Model):
    """Changes the optimizer that it gets, as models do that leave biases out of weight decay."""

    def compile(self, optimizer="auto", rate=0.5, **kwargs):
        optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5) if optimizer == "auto" else optimizer
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        optimizer.learning_rate = rate * float(optimizer.learning_rate)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        super().compile(optimizer=optimizer, loss=loss, **kwargs)


class Asking(keras.Model):
    """Reads what `compile` has set."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = self.loss(y, y_pred) * (1.0 if self.run_eagerly else 2.0) * self.steps_per_execution
        if keras.backend.backend() == "jax":  # Keras's step takes the optimizer's variables away there
            return loss
        return loss + 0.01 * ops.cast(self.optimizer.iterations, "float32")


class Scoring(keras.Model):
    """Its metric is built by its first data. `attributes` gives the order in which metrics are made."""

    def __init__(self, *args, attributes=("one", "two", "score"), **kwargs):
        super().__init__(*args, **kwargs)
        made = {"one": keras.metrics.Mean, "two": keras.metrics.Mean, "score": keras.metrics.F1Score}
        for name in attributes:
            setattr(self, name, made[name](name=name))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        self.one.update_state(1.0)
        self.two.update_state(2.0 * loss)
        self.score.update_state(ops.one_hot(y, 3), ops.softmax(y_pred))
        if not hasattr(self, "late") and keras.backend.backend() == "torch":
            self.late = keras.metrics.Mean(name="late")
        if hasattr(self, "late"):
            self.late.update_state(3.0 * loss)
        return loss


CROSSENTROPY = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
CASES |= {
    "adjusting": Own(lambda width: graph(width, Adjusting), {"rate": 0.1}),
    "asking": Own(lambda width: graph(width, Asking), CROSSENTROPY),
    "scoring": Own(lambda width: graph(width, Scoring), CROSSENTROPY),
}
