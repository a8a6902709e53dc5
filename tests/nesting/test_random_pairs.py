"""Random pairs are mapped as reasoning about each layer says, or refused; see `random_settings` for more of them."""

import warnings
from collections import Counter

import numpy as np
import pytest
from helpers import numpy
from keras import ops

import keras_motivation as km

pytest.importorskip("hypothesis")
from hypothesis import given, seed
from hypothesis import strategies as st
from intended_maps import intended_map
from nesting_judge import draw_weight, error_of
from numpy_nets import NumpyNet
from random_nets import build, by_role, inputs_of
from random_pairs import descriptions
from random_settings import SEED, TIMES, many

pytestmark = pytest.mark.slow
MAPPED = 200
RIGHT, WRONG = 1e-4, 1e-3  # errors of a pair that nests, and of one that does not
# Coincidences of sizes: the base's channels could be at several places, and the package does not look further.
MOST_COINCIDENCES = 0.03


def entries_of(weights_map, inner, outer):
    """A weights map by the roles of the weights, as `intended_map` gives it."""
    roles = {id(v): key for weights in (inner, outer) for key, v in weights.items()}
    assert all(roles[id(e.base)] == roles[id(e.motivated)] for e in weights_map.entries)
    return {
        roles[id(e.base)]: [np.arange(n)[i] for n, i in zip(e.motivated.shape, e.index)] for e in weights_map.entries
    }


def test_every_pair_is_mapped_right_or_refused():
    """As zeros in place of the extension show, the package accepts nothing wrong, and refuses what is listed here."""
    seen = Counter()

    @seed(SEED)
    @many(MAPPED)
    @given(st.one_of(descriptions(), descriptions(), descriptions(traps=True), descriptions(traps=True, inline=True)))
    def check(spec):
        (base, ours), (motivated, theirs) = build(spec, 0), build(spec, 1)
        inner, outer = by_role(ours), by_role(theirs)
        intended = intended_map(spec)
        error = None if intended is None else error_of(spec, inner, outer, intended)
        if intended is not None and (error is None or RIGHT < error < WRONG):
            return  # nothing can be said about it
        nests = intended is not None and error < WRONG
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            weights_map, refusal = inferred(base, motivated)
        if weights_map is None:
            seen["refused"] += 1
            if nests and not has_operations(spec):  # such operations have no rule
                assert "is joined or fused otherwise" in refusal or "proves nothing" in refusal or regroups(spec)
                seen["coincidence"] += 1
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
    assert seen["refused"] >= 3 * TIMES
    assert seen["coincidence"] <= max(2, MOST_COINCIDENCES * MAPPED * TIMES)


def inferred(base, motivated):
    """The weights map, or None if the pair is refused; and why."""
    try:
        return km.WeightsMap.infer(base, motivated), ""
    except ValueError as refusal:
        assert "do not map into" in str(refusal) or "proves nothing" in str(refusal)  # noqa: PT017
        return None, str(refusal)


def all_steps(spec):
    return [inner for step in spec["steps"] for inner in (step, *step.get("branch", []))]


def has_operations(spec):
    return any(step["op"] == "operation" for step in all_steps(spec))


def regroups(spec):
    """Whether the same channels may be grouped twice, once in more groups and once in larger ones."""
    grouped = [step["groups"] for step in all_steps(spec) if "groups" in step]
    return any(one != other for one in grouped for other in grouped)


def in_the_way(spec):
    """Whether new layers are in the way of what the base computes, so that no zeros in them make them silent."""
    return any(step.get("new") and step["op"] != "residual" for step in spec["steps"])


def assert_same_entries(found, expected):
    assert found.keys() == expected.keys()
    for key, places in expected.items():
        for ours, theirs in zip(found[key], places, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=str(key))


def test_the_judge_computes_what_keras_computes():
    """Numpy's nets, by which the other test knows what nests, against the same nets of Keras."""

    @seed(SEED)
    @many(10)
    @given(descriptions(traps=True))
    def check(spec):
        random = np.random.default_rng(0)
        for size in (0, 1):
            model, made = build(spec, size)
            model.set_weights([draw_weight(v, random) for v in model.weights])
            values = {key: np.array(numpy(v)) for key, v in by_role(made).items()}
            x = inputs_of(spec, 3, random)
            found, expected = NumpyNet(spec, size, values).run(x), ops.convert_to_numpy(model(x))
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())

    check()
