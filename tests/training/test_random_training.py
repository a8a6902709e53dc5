"""Random pairs train as by explicit copies, and go on after loading; see `random_settings` for more of them."""

import warnings
from collections import Counter

import keras
import numpy as np
import pytest
from helpers import Recorder, assert_same_weights, crossentropy, numpy

import keras_motivation as km

pytest.importorskip("hypothesis")
from hypothesis import given, seed
from hypothesis import strategies as st
from intended_maps import intended_map
from nesting_judge import draw_weight
from oracle import LiteralProcedure, slots
from random_nets import build, by_role, inputs_of
from random_pairs import descriptions
from random_settings import SEED, TIMES, many
from random_steps import CLASSES
from random_trainings import condition_of, conditions, optimizer_of, optimizers, rule_of

pytestmark = pytest.mark.slow
# PyTorch compiles nothing; JAX compiles each operation on each shape, and four steps for each pair that trains.
TRAINED = {"tensorflow": 5, "jax": 4, "torch": 60}[keras.backend.backend()]


class Watch(Recorder):
    """Records each batch, and checks that it left alone what it does not train.

    Args:
        pair: The pair.
        own: Path, variable and mask of what is the motivated model's own.
    """

    def __init__(self, pair, own):
        super().__init__()
        self.pair, self.own, self.changed = pair, own, 0

    def on_train_begin(self, logs=None):
        self.before = self.snapshot()

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        after = self.snapshot()
        untouched = "statistics" if self.motivated[-1] else "extension"
        for path, value in after[untouched].items():
            np.testing.assert_array_equal(value, self.before[untouched][path], err_msg=path)
        if self.motivated[-1]:
            earlier = self.before["extension"]
            self.changed += any(not np.array_equal(value, earlier[path]) for path, value in after["extension"].items())
        self.before = after

    def snapshot(self):
        """The extension with its optimizer slots; and the base's statistics, where they are its own."""
        pair = self.pair
        pair.sync()
        extension = {path: numpy(variable)[mask] for path, variable, mask in self.own}
        own = {id(variable): path for path, variable, _ in self.own}
        for number, kind in enumerate(slots(pair.optimizer)):
            for variable, slot in zip(pair.trainable_variables, kind, strict=True):
                if id(variable) in own:
                    extension[f"{own[id(variable)]}, slot {number}"] = np.array(numpy(slot))
        buffers = pair.base.non_trainable_weights if pair.statistics == "private" else []
        return {"extension": extension, "statistics": {v.path: np.array(numpy(v)) for v in buffers}}


def extension_of(intended, outer, statistics):
    """The motivated model's own state: path, variable, and where the base has no part in it."""
    found = []
    for key, variable in outer.items():
        mask = np.ones(variable.shape, bool)
        if key in intended and (variable.trainable or statistics == "shared"):
            mask[np.ix_(*intended[key])] = False
        if mask.any():
            found.append((f"{key}", variable, mask))
    return found


def made_for(spec, drawn):
    """A description that can be trained with an optimizer and compared."""
    spec = {**spec, "head": None}
    if keras.backend.backend() == "jax":  # where Keras's own does not train in double precision
        spec["steps"] = changed(spec["steps"], lambda step: step.get("kind") == "rnn", lambda step: {"kind": "gru"})
    if drawn[0] == "lion":  # sees but the sign of a gradient: where that is zero up to rounding, a sign by chance
        spec["bias"] = False
        kinds = ("norm", "attention", "fused_attention")
        spec["steps"] = changed(
            spec["steps"], lambda step: step["op"] in kinds, lambda step: {"op": "act", "kind": "silu"}
        )
    return spec


def changed(steps, unwanted, instead):
    """Steps with others in the place of unwanted ones."""
    found = [
        {**step, "branch": changed(step["branch"], unwanted, instead)} if "branch" in step else step for step in steps
    ]
    return [{**step, **instead(step)} if unwanted(step) else step for step in found]


def start(model, random):
    """Gives a model random weights."""
    model.set_weights([draw_weight(v, random) for v in model.weights])


def pair_of(base, motivated, **kwargs):
    """The pair, or None if it is refused; by the user's word if numbers show nothing, as for nets with one answer."""
    try:
        return km.MotivatedModel(base, motivated, **kwargs)
    except ValueError as error:
        if "do not map into" in str(error):  # test_random_pairs knows when
            return None
        if "cannot be shown by numbers" not in str(error):
            raise
        return km.MotivatedModel(base, motivated, km.WeightsMap.infer(base, motivated, check=False), **kwargs)


@pytest.mark.usefixtures("float64")
def test_trains_as_by_copies_and_goes_on_after_loading(tmp_path):
    seen = Counter()

    @seed(SEED)
    @many(TRAINED)
    @given(
        spec=descriptions(),
        optimizer=optimizers(),
        condition=conditions(),
        statistics=st.sampled_from(["shared", "private"]),
        initialize=st.sampled_from(["base", "base", "motivated"]),
        extension=st.sampled_from(["silent", "random"]),
        number=st.integers(0, 9),
    )
    def check(spec, optimizer, condition, statistics, initialize, extension, number):
        spec, random = made_for(spec, optimizer), np.random.default_rng(number)
        intended = intended_map(spec)
        if intended is None:
            return
        (base, _), (motivated, made) = build(spec, 0), build(spec, 1)
        outer = by_role(made)
        for model in (base, motivated):
            start(model, random)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # where it cannot be silenced
            pair = pair_of(base, motivated, statistics=statistics, initialize=initialize, extension=extension)
        if pair is None:
            seen["refused"] += 1
            return
        copies = []
        for size, model in enumerate((pair.base, pair.motivated)):
            copy, made = build(spec, size)
            copy.set_weights(model.get_weights())
            copies.append((copy, by_role(made)))
        for model in (pair, *(copy for copy, _ in copies)):
            more = {"motivation": condition_of(condition)} if model is pair else {}
            model.compile(optimizer_of(optimizer), crossentropy(), **more)

        x, y = inputs_of(spec, 40, random), random.integers(0, CLASSES, 40)
        shared = [(weight, copies[1][1][key], intended[key]) for key, weight in copies[0][1].items()]
        oracle = LiteralProcedure(copies[0][0], copies[1][0], rule_of(condition), statistics, shared)
        losses, flags = oracle.train([(x[i : i + 4], y[i : i + 4]) for i in range(0, 24, 4)])

        watch = Watch(pair, extension_of(intended, outer, statistics))
        pair.fit(x[:24], y[:24], batch_size=4, shuffle=False, verbose=0, callbacks=[watch])
        assert watch.motivated == flags
        np.testing.assert_allclose(watch.losses, losses, rtol=1e-5, atol=1e-5 * max(losses))  # logs are rounded
        for ours, theirs in ((pair.base, oracle.base), (pair.motivated, oracle.motivated)):
            assert_same_weights(ours, theirs, rtol=1e-6, atol=1e-9)

        pair.save(tmp_path / "pair.keras")
        loaded = keras.models.load_model(tmp_path / "pair.keras")
        ends = [m.fit(x[24:], y[24:], batch_size=4, shuffle=False, verbose=0).history for m in (pair, loaded)]
        np.testing.assert_equal(*ends)  # also if both are nan
        # Not the seeds of layers, which Keras does not save; no layer here draws.
        states = [[*m.weights, *m.motivation.variables, *m.optimizer.variables] for m in (pair, loaded)]
        for one, other in zip(*states, strict=True):
            np.testing.assert_array_equal(numpy(one), numpy(other), err_msg=one.path)
        seen["motivated batches"] += sum(flags)
        seen["base batches"] += len(flags) - sum(flags)
        seen["batches that changed an extension"] += watch.changed

    check()
    print(dict(seen))
    assert seen.pop("refused", 0) <= max(1, 0.05 * TRAINED * TIMES)
    assert min(seen.values()) >= TRAINED * TIMES / 2
