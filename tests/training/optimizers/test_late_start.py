"""The extension joins late and starts as it would at the first batch; the base's updates are the stock optimizer's."""

import keras
import numpy as np
import pytest
from helpers import Held, crossentropy, mlp, numpy, pair_of, some, vectors

import keras_motivation as km

RATE = 0.01


ADAMS = {
    "adam": keras.optimizers.Adam,
    "amsgrad": lambda rate, **kwargs: keras.optimizers.Adam(rate, amsgrad=True, **kwargs),
    "adamw": keras.optimizers.AdamW,
    "adamax": keras.optimizers.Adamax,
    "nadam": keras.optimizers.Nadam,
}


def first_updates(model, wait, batches=8):
    """RMS of the extension's update over the learning rate, batch by batch, after some batches of the base."""
    x, y = vectors(50)
    if wait:
        model.fit(x, y, batch_size=4, epochs=wait // 50, shuffle=False, verbose=0)
    model.motivation.level.assign(1)
    weights = [v for v in model.extension_variables if v.name == "kernel"]
    found = []
    for i in range(batches):
        model.sync()
        before = [np.array(numpy(v)) for v in weights]
        model.train_on_batch(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4])
        moved = np.concatenate([(numpy(v) - old).ravel() for v, old in zip(weights, before)])
        found.append(np.sqrt(np.mean(np.square(moved[moved != 0]))) / RATE)
    return np.array(found)


@pytest.mark.parametrize(
    ("kind", "policy"),
    [("adam", "float32"), ("adamw", "float32"), ("adamax", "float32"), ("nadam", "float32"), ("adam", "mixed_float16")],
)
def test_first_updates_are_of_the_usual_size(kind, policy, request):
    """By the optimizer's count, the first updates at batch 300 would be of another size."""
    if policy != "float32":
        request.getfixturevalue(policy)
    model = km.MotivatedModel(*pair_of("depth", mlp), extension="random")
    model.compile(ADAMS[kind](RATE), crossentropy(), motivation=Held())
    model.optimizer.build(model.trainable_variables)
    state = [(v, np.array(numpy(v))) for v in (*model.variables, *model.optimizer.variables)]
    at_once = first_updates(model, 0)
    model.attach_state()
    for variable, value in state:
        variable.assign(value)
    late = first_updates(model, 300)
    assert int(model.optimizer.iterations) == 308
    # The first update of a weight has the learning rate's size, whatever its gradient.
    np.testing.assert_allclose(late[0], at_once[0], rtol=0.05)
    np.testing.assert_allclose(late, at_once, rtol=0.5)


def linear(names):
    """A sum of linear maps: `a` is the base, `a` and `b` the motivated model."""
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(1, use_bias=False, name=name)(inputs) for name in names]
    return keras.Model(inputs, keras.layers.Add()(outputs) if len(outputs) > 1 else outputs[0])


class Reference:
    """Adam and its kin in NumPy, for one weight with a count of its own, written after the papers."""

    def __init__(self, kind, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        self.kind, self.betas, self.epsilon = kind, (beta_1, beta_2), epsilon
        self.t, self.m, self.v, self.top, self.product = 0, 0.0, 0.0, 0.0, 1.0

    def step(self, weight, g, rate):
        self.t += 1
        one, two = self.betas
        self.m = one * self.m + (1 - one) * g
        if self.kind == "adamax":
            self.v = np.maximum(two * self.v, np.abs(g))
            return weight - rate / (1 - one**self.t) * self.m / (self.v + self.epsilon)
        self.v = two * self.v + (1 - two) * g**2
        if self.kind == "nadam":
            now, then = (one * (1 - 0.5 * 0.96 ** (self.t + i)) for i in (0, 1))
            self.product *= now
            m_hat = then * self.m / (1 - self.product * then) + (1 - now) * g / (1 - self.product)
            return weight - rate * m_hat / (np.sqrt(self.v / (1 - two**self.t)) + self.epsilon)
        self.top = np.maximum(self.top, self.v)
        v = self.top if self.kind == "amsgrad" else self.v
        decayed = weight * (1 - 0.004 * rate) if self.kind == "adamw" else weight
        alpha = rate * np.sqrt(1 - two**self.t) / (1 - one**self.t)
        return decayed - alpha * self.m / (np.sqrt(v) + self.epsilon)


def rates(step):
    return 0.05 * 0.9**step


LEVELS = {2: [0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0], 3: [0, 0, 1, 0, 2, 1, 0, 2, 2, 1, 1, 0]}


def race(optimizer, reference, steps=1, overflow=(), sizes=2):
    """Trains models of `linear`; returns the weights and those of references, one for each weight."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, steps, 8, 4)), rng.normal(size=(12, steps, 8, 1))
    base, *larger = [linear("abc"[: i + 1]) for i in range(sizes)]
    model = km.MotivatedModel(base, larger, extension="random")
    weights = [nested.get_layer(name).kernel for nested, name in zip(model.models, "abc")]
    expected = [rng.normal(size=(4, 1)) for _ in weights]
    for variable, value in zip(weights, expected):
        variable.assign(value)
    model.compile(optimizer, "mse", motivation=Held())
    references = [reference() for _ in weights]
    for i, level in enumerate(LEVELS[sizes]):
        model.motivation.level.assign(level)
        gradient = 0.0
        for inputs, targets in zip(x[i], y[i]):
            model.train_on_batch(inputs, targets)
            error = inputs @ sum(expected[: 1 + level]) - targets
            gradient = gradient + 2 * inputs.T @ error / len(inputs) / steps
        rate = rates(steps * (i + 1) - 1)
        for j in range(1 + level):
            expected[j] = references[j].step(expected[j], gradient, rate)
        if i in overflow:  # leaves everything as it is
            scale = model.optimizer.dynamic_scale
            kept = np.array(numpy(scale))
            scale.assign(np.inf)
            model.train_on_batch(x[i, 0], y[i, 0])
            scale.assign(kept)
    model.attach_state()
    return [numpy(v) for v in weights], expected


@keras.saving.register_keras_serializable(__name__)
class Rates(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return keras.ops.cast(0.05, "float64") * keras.ops.power(0.9, keras.ops.cast(step, "float64"))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("kind", "sizes"), some((kind, sizes) for sizes in (2, 3) for kind in ADAMS))
def test_against_a_reference_with_a_count_for_each_weight(kind, sizes):
    """The schedule follows the optimizer's count, and so does all that the base sees."""
    found, expected = race(ADAMS[kind](Rates()), lambda: Reference(kind), sizes=sizes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # TensorFlow casts beta from float32


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["adam", "nadam"])
def test_accumulated_gradients_count_once(kind):
    optimizer = ADAMS[kind](Rates(), gradient_accumulation_steps=3)
    found, expected = race(optimizer, lambda: Reference(kind), steps=3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # TensorFlow casts beta from float32


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [1, 3])
def test_batches_that_overflow_do_not_count(steps):
    inner = keras.optimizers.Adam(Rates(), gradient_accumulation_steps=steps if steps > 1 else None)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0)
    found, expected = race(optimizer, lambda: Reference("adam"), steps, overflow=(1, 4, 9))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # TensorFlow casts beta from float32
