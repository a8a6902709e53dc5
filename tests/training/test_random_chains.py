"""Random families train as separate stock models with explicit copies do."""

import keras
import numpy as np
import pytest
from helpers import Recorder, crossentropy, mlp, numpy, randomise, vectors
from literal_chain import LiteralChain

import keras_motivation as km

pytest.importorskip("hypothesis")
from hypothesis import given, seed
from hypothesis import strategies as st
from random_settings import SEED, many

pytestmark = pytest.mark.slow
EXAMPLES = {"tensorflow": 4, "jax": 4, "torch": 30}[keras.backend.backend()]
# For one model a batch any optimizer whose slots can be copied; the changes of a sum can be added for plain SGD only.
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.03),
    "nesterov": lambda: keras.optimizers.SGD(0.03, momentum=0.9, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.002),
    "adagrad": lambda: keras.optimizers.Adagrad(0.02),
    "lion": lambda: keras.optimizers.Lion(0.002),
}


@st.composite
def families(draw):
    """Sizes, kinds of batches, levels, and the rest of the settings of a family."""
    count = draw(st.integers(3, 4))
    size, sizes = [draw(st.integers(2, 4)), draw(st.integers(0, 1))], []
    for _ in range(count):
        sizes.append(tuple(size))
        steps = draw(st.sampled_from([(1, 0), (2, 0), (0, 1), (0, 2), (2, 1)]))
        size = [size[0] + steps[0], size[1] + steps[1]]
    weights = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=count, max_size=count)
    kind = draw(
        st.one_of(
            st.sampled_from(["alternate", "alternate", "joint", "sandwich"]),
            weights.filter(lambda found: found[0] + found[1] > 0),
            st.just(["alternate", ("sandwich", 2)]),
        )
    )
    highest = (count - 1) * (2 if isinstance(kind, list) and isinstance(kind[0], str) else 1)
    return {
        "sizes": sizes,
        "norm": draw(st.booleans()),
        "statistics": draw(st.sampled_from(["private", "shared"])),
        "kind": kind,
        "optimizer": draw(st.sampled_from(list(OPTIMIZERS))) if kind == "alternate" else "sgd",
        "levels": draw(st.lists(st.integers(0, highest), min_size=10, max_size=10)),
    }


class Kinds(Recorder):
    """Also notes which kind of batch was drawn."""

    def __init__(self):
        super().__init__()
        self.terms = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.attach_state()
        pair = self.model._compiled_pair
        self.terms.append(pair.kinds.terms[int(numpy(pair.decider.level))])


@seed(SEED)
@many(EXAMPLES)
@given(families())
def test_equals_separate_models_and_copies(drawn):
    x, y = vectors(5)

    def models():
        found = [mlp(*size, norm=drawn["norm"]) for size in drawn["sizes"]]
        return [randomise(model, number) for number, model in enumerate(found, start=1)]

    base, *larger = models()
    family, record = km.MotivatedModel(base, larger, extension="random", statistics=drawn["statistics"]), Kinds()
    family.compile(
        OPTIMIZERS[drawn["optimizer"]](),
        crossentropy(),
        motivation=km.Schedule(drawn["levels"]),
        motivated_batch=drawn["kind"],
    )
    family.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[record])

    separate = models()
    for model in separate:
        model.compile(OPTIMIZERS[drawn["optimizer"]](), crossentropy())
    batches = [(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4]) for i in range(5)] * 2
    losses = LiteralChain(separate, drawn["statistics"]).train(batches, record.terms)
    np.testing.assert_allclose(record.losses, losses, rtol=2e-4)
    for ours, theirs in zip(family.models, separate, strict=True):
        for a, b in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-3, atol=3e-5, err_msg=f"{a.path}: {drawn}")
    forward = [km.count_flops(model) for model in family.models]
    assert family.training_cost().flops == 3 * 4 * sum(forward[size] for terms in record.terms for size, _ in terms)
