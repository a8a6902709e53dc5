"""The sandwich: the smallest model, the largest, and one or more in between, which are drawn for each batch."""

import keras
import numpy as np
import pytest
from helpers import crossentropy, mlp, numpy, vectors
from literal_chain import LiteralChain
from test_levels import FOUR, models, nested

import keras_motivation as km
from keras_motivation.training.levels import kinds_of


class Kinds(keras.callbacks.Callback):
    """Notes the models that each batch trains."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_begin(self, batch, logs=None):
        self.model.attach_state()
        self.found.append(int(numpy(self.model._compiled_pair.decider.level)))


def sizes(kinds, level):
    return [tuple(size for size, _ in terms) for terms in kinds.of(level)]


def test_the_kinds_of_each_level():
    one, two = kinds_of("sandwich", 5), kinds_of(("sandwich", 2), 5)
    assert [sizes(one, level) for level in range(3)] == [[(0,)], [(0, 1)], [(0, 1, 2)]]
    assert sizes(one, 4) == [(0, 1, 4), (0, 2, 4), (0, 3, 4)]
    assert sizes(two, 4) == [(0, 1, 2, 4), (0, 1, 3, 4), (0, 2, 3, 4)]
    assert kinds_of("sandwich", 2) == kinds_of("joint", 2)
    both = kinds_of(["alternate", ["sandwich", 1]], 4)
    assert both.counts == (1, 1, 1, 1, 1, 1, 2)
    assert both.terms[3] == ((3, 1.0),)


def fitted(epochs=1, **kwargs):
    x, y = vectors(batches=12)
    keras.utils.set_random_seed(3)
    model, kinds = nested(mlp, FOUR), Kinds()
    model.compile(keras.optimizers.SGD(0.05), crossentropy(), motivation="always", motivated_batch="sandwich", **kwargs)
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=[kinds])
    return model, kinds.found, (x, y)


def test_equals_separate_models_and_copies():
    model, kinds, (x, y) = fitted()
    assert {model._compiled_pair.kinds.levels[kind] for kind in kinds} == {3}
    assert len(set(kinds)) == 2
    separate = models(mlp, FOUR)
    for each in separate:
        each.compile(keras.optimizers.SGD(0.05), crossentropy())
    terms = [model._compiled_pair.kinds.terms[kind] for kind in kinds]
    LiteralChain(separate, "private").train([(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4]) for i in range(12)], terms)
    for ours, theirs in zip(model.models, separate, strict=True):
        for a, b in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-3, atol=1e-5)
    forward = [km.count_flops(m) for m in model.models]
    assert model.training_cost().flops == 3 * 4 * sum(forward[size] for kind in terms for size, _ in kind)
    mean = 3 * (forward[0] + (forward[1] + forward[2]) / 2 + forward[3])
    assert model.training_cost().flops_per_example[3] == pytest.approx(mean, abs=1)


def test_the_seed_decides_and_is_saved(tmp_path):
    _, expected, data = fitted(epochs=2)
    model, first, _ = fitted()
    assert first == expected[:12]
    model.save(tmp_path / "family.keras")
    loaded, kinds = keras.saving.load_model(tmp_path / "family.keras"), Kinds()
    loaded.fit(*data, batch_size=4, shuffle=False, verbose=0, callbacks=[kinds])
    assert first + kinds.found == expected


def test_one_draw_for_each_update():
    x, y = vectors(batches=12)
    model, kinds = nested(mlp, FOUR), Kinds()
    optimizer = keras.optimizers.SGD(0.05, gradient_accumulation_steps=3)
    model.compile(optimizer, crossentropy(), motivation="always", motivated_batch="sandwich")
    model.fit(x, y, batch_size=4, epochs=4, verbose=0, callbacks=[kinds])
    windows = np.reshape(kinds.found, (-1, 3))
    assert (windows == windows[:, :1]).all()
    assert len(set(kinds.found)) == 2


def test_records_levels_and_keeps_a_budget():
    x, y = vectors(batches=100)
    model, record = nested(mlp, FOUR), km.MotivationHistory()
    budget = km.Budget(1.2, km.RandomActivation([0.2, 0.2, 0.2], seed=1))
    model.compile("sgd", crossentropy(), motivation=budget, motivated_batch="sandwich")
    history = model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[record]).history
    cost = model.training_cost()
    assert cost.relative_to_motivated == pytest.approx(1.2, rel=0.01)
    assert np.mean(history["cost_to_motivated"]) == pytest.approx(cost.relative_to_motivated, rel=1e-4)
    assert set(record.levels) == {0, 1, 2, 3}
    for level in range(1, 4):
        assert np.mean(history[f"level_{level}"]) == pytest.approx(np.mean(record.levels == level))


@pytest.mark.parametrize("wrong", [("sandwich", 0), ("sandwich", True), ("sandwich", 1.0), ["sandwich", "two"]])
def test_refused(wrong):
    model = nested(mlp, FOUR)
    with pytest.raises(ValueError, match=r"n of at least 1.*Received: motivated_batch="):
        model.compile("sgd", crossentropy(), motivated_batch=wrong)
