"""Random nested pairs: mapped right or refused; trained as by explicit copies; saved and gone on with.

Set RANDOM_PAIRS to try that many times as many, and RANDOM_PAIRS_SEED for others than usual:
`RANDOM_PAIRS=10 RANDOM_PAIRS_SEED=1 KERAS_BACKEND=torch pytest tests/test_random_pairs.py -s`.
"""

import os
import warnings
from collections import Counter

import keras
import numpy as np
import pytest
from helpers import Recorder, assert_same_weights, crossentropy, numpy

import keras_motivation as km

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from nesting_judge import draw_weight, error_of
from oracle import LiteralProcedure, slots
from random_nets import CLASSES, build, by_role, inputs_of
from random_pairs import descriptions
from random_trainings import condition_of, conditions, optimizer_of, optimizers, rule_of

pytestmark = pytest.mark.slow
BACKENDS = ["tensorflow", "jax", "torch"]  # each draws pairs of its own
SEED = 10 * int(os.environ.get("RANDOM_PAIRS_SEED", "0")) + BACKENDS.index(keras.backend.backend())
TIMES = float(os.environ.get("RANDOM_PAIRS", "1"))
# How many pairs are mapped and how many trained. PyTorch compiles nothing; JAX compiles each operation on each shape,
# and four steps for each pair that trains.
MAPPED, TRAINED = {"tensorflow": (60, 5), "jax": (60, 4), "torch": (240, 100)}[keras.backend.backend()]
RIGHT, WRONG = 1e-4, 1e-3  # errors of a pair that nests, and of one that does not


def many(examples):
    """Settings for so many pairs, the same ones in each run; a failing one is shown as it was drawn."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=max(1, round(examples * TIMES)),
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to make a failing pair smaller takes minutes
        suppress_health_check=checks,
    )


def entries_of(weights_map, inner, outer):
    """A weights map in terms of roles, as `error_of` takes it."""
    roles = {id(v): key for made in (inner, outer) for key, v in by_role(made).items()}
    return {
        roles[id(e.base)]: (roles[id(e.motivated)], [np.arange(n)[i] for n, i in zip(e.motivated.shape, e.index)])
        for e in weights_map.entries
    }


def meant(inner, outer):
    """The map that was meant: a weight of the base is the first entries of the weight with its role. None if it cannot
    be."""
    outer = by_role(outer)
    for key, v in by_role(inner).items():
        if key not in outer or len(outer[key].shape) != len(v.shape) or np.any(np.greater(v.shape, outer[key].shape)):
            return None
    return {key: (key, [np.arange(n) for n in v.shape]) for key, v in by_role(inner).items()}


def test_every_pair_is_mapped_right_or_refused():
    """As silencing the extension by hand shows, the package accepts nothing wrong and refuses nothing right."""
    seen = Counter()

    @seed(SEED)
    @many(MAPPED)
    @given(st.one_of(descriptions(), descriptions(), descriptions(risky=True), descriptions(risky=True, inline=True)))
    def check(spec):
        (base, inner), (motivated, outer) = build(spec, 0), build(spec, 1)
        intended = meant(inner, outer)
        error = None if intended is None else error_of(spec, intended)
        if intended is not None and (error is None or RIGHT < error < WRONG):
            return  # nothing can be said about it
        nests = intended is not None and error < WRONG
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            weights_map = inferred(base, motivated)
        if weights_map is None:
            seen["refused"] += 1
            assert not nests or uses_what_stayed(spec), "refused, though it nests"
            return
        said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        seen["warned" if said else "accepted"] += 1
        if said:
            assert in_the_way(spec) or not nests, said
        else:
            assert nests, f"accepted, though the outputs differ by {error}"
            assert_same_entries(entries_of(weights_map, inner, outer), intended)
            assert weights_map.verdict.nested

    check()
    print(dict(seen))
    assert seen["accepted"] >= MAPPED * TIMES / 2
    assert seen["refused"] >= MAPPED * TIMES / 20


def inferred(base, motivated):
    """The weights map, or None if the pair is refused."""
    try:
        return km.WeightsMap.infer(base, motivated)
    except ValueError as refusal:
        assert "do not map into" in str(refusal) or "proves nothing" in str(refusal)  # noqa: PT017
        return None


def in_the_way(spec):
    """Whether new layers stand in the way of what the base computes, so that no zeros in them make them silent."""
    return any(step.get("new") and step["op"] != "residual" for step in spec["steps"])


def uses_what_stayed(spec):
    """Whether channels that moved may be cut off again. The graph shows that they moved: that is enough to refuse."""
    kinds = [step.get("kind") if step["op"] == "operation" else step["op"] for step in spec["steps"]]
    moved = [i for i, kind in enumerate(kinds) if kind in ("fold", "flatten", "join", "bidirectional")]
    return any(kind in ("take", "split") for kind in kinds[moved[0] + 1 :]) if moved else False


def assert_same_entries(found, expected):
    assert found.keys() == expected.keys()
    for key, (target, places) in expected.items():
        assert found[key][0] == target
        for ours, theirs in zip(found[key][1], places, strict=True):
            np.testing.assert_array_equal(ours, theirs)


# ---- Training ------------------------------------------------------------------------------------------------------


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


def extension_of(inner, outer, statistics):
    """A function that lists the motivated model's own state: path, variable, and where the base has no part in it."""
    shapes = {key: tuple(slice(0, n) for n in v.shape) for key, v in by_role(inner).items()}
    found = []
    for key, variable in by_role(outer).items():
        mask = np.ones(variable.shape, bool)
        if key in shapes and (variable.trainable or statistics == "shared"):
            mask[shapes[key]] = False
        if mask.any():
            found.append((f"{key}", variable, mask))
    return found


def made_for(spec, drawn):
    """A description that can be trained with an optimizer and compared."""
    spec = {**spec, "head": None}
    if keras.backend.backend() == "jax":  # where Keras's own does not train in double precision
        spec["steps"] = without(spec["steps"], lambda step: step.get("kind") == "rnn")
    if drawn[0] == "lion":  # sees but the sign of a gradient: where that is zero up to rounding, a sign by chance
        spec["bias"] = False
        spec["steps"] = without(spec["steps"], lambda step: step["op"] in ("norm", "attention"))
    return spec


def without(steps, unwanted):
    """Steps with a dense layer in the place of unwanted ones."""
    found = []
    for step in steps:
        if "branch" in step:
            step = {**step, "branch": without(step["branch"], unwanted)}
        if not unwanted(step):
            found.append(step)
        elif "width" in step:
            found.append({**step, "kind": "dense"})
    return found


def start(model, random):
    """Gives a model random weights."""
    model.set_weights([draw_weight(v, random) for v in model.weights])


def pair_of(base, motivated, **kwargs):
    """The pair; by the user's word where numbers show nothing, as of nets that answer all inputs alike."""
    try:
        return km.MotivatedModel(base, motivated, **kwargs)
    except ValueError as error:
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
        (base, inner), (motivated, outer) = build(spec, 0), build(spec, 1)
        for model in (base, motivated):
            start(model, random)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # where it cannot be silenced
            pair = pair_of(base, motivated, statistics=statistics, initialize=initialize, extension=extension)
        copies = []
        for size, model in enumerate((pair.base, pair.motivated)):
            copy, made = build(spec, size)
            copy.set_weights(model.get_weights())
            copies.append((copy, by_role(made)))
        for model in (pair, *(copy for copy, _ in copies)):
            more = {"motivation": condition_of(condition)} if model is pair else {}
            model.compile(optimizer_of(optimizer), crossentropy(), **more)

        x, y = inputs_of(spec, 40, random), random.integers(0, CLASSES, 40)
        shared = [(weight, copies[1][1][key]) for key, weight in copies[0][1].items()]
        oracle = LiteralProcedure(copies[0][0], copies[1][0], rule_of(condition), statistics, shared)
        losses, flags = oracle.train([(x[i : i + 4], y[i : i + 4]) for i in range(0, 24, 4)])

        watch = Watch(pair, extension_of(inner, outer, statistics))
        pair.fit(x[:24], y[:24], batch_size=4, shuffle=False, verbose=0, callbacks=[watch])
        assert watch.motivated == flags
        np.testing.assert_allclose(watch.losses, losses, rtol=1e-5, atol=1e-5 * max(losses))  # logs are rounded
        for ours, theirs in ((pair.base, oracle.base), (pair.motivated, oracle.motivated)):
            assert_same_weights(ours, theirs, rtol=1e-6, atol=1e-9)

        pair.save(tmp_path / "pair.keras")
        loaded = keras.models.load_model(tmp_path / "pair.keras")
        ends = [m.fit(x[24:], y[24:], batch_size=4, shuffle=False, verbose=0).history for m in (pair, loaded)]
        assert ends[0] == ends[1]
        # Not the seeds of layers, which Keras does not save; no layer here draws.
        states = [[*m.weights, *m.motivation.variables, *m.optimizer.variables] for m in (pair, loaded)]
        for one, other in zip(*states, strict=True):
            np.testing.assert_array_equal(numpy(one), numpy(other), err_msg=one.path)
        seen["motivated batches"] += sum(flags)
        seen["base batches"] += len(flags) - sum(flags)
        seen["batches that changed an extension"] += watch.changed

    check()
    print(dict(seen))
    assert min(seen.values()) >= TRAINED * TIMES / 2
