"""Random optimizers and motivation conditions, each condition with the rule of the oracle that says the same."""

import keras
import numpy as np
import oracle
from helpers import Alternate
from hypothesis import strategies as st

import keras_motivation as km

OPTIMIZERS = {
    "sgd": lambda **more: keras.optimizers.SGD(0.05, **more),
    "momentum": lambda **more: keras.optimizers.SGD(0.02, momentum=0.9, **more),
    "nesterov": lambda **more: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True, **more),
    "decayed": lambda **more: keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5), momentum=0.5, **more
    ),
    "adam": lambda **more: keras.optimizers.Adam(0.01, **more),
    "amsgrad": lambda **more: keras.optimizers.Adam(0.01, amsgrad=True, **more),
    "adamw": lambda **more: keras.optimizers.AdamW(0.01, **{"weight_decay": 0.05, **more}),
    "adamax": lambda **more: keras.optimizers.Adamax(0.01, **more),
    "nadam": lambda **more: keras.optimizers.Nadam(0.01, **more),
    "rmsprop": lambda **more: keras.optimizers.RMSprop(0.005, **more),
    "centered": lambda **more: keras.optimizers.RMSprop(0.005, momentum=0.5, centered=True, **more),
    "adagrad": lambda **more: keras.optimizers.Adagrad(0.05, **more),
    "adadelta": lambda **more: keras.optimizers.Adadelta(0.5, **more),
    "ftrl": lambda **more: keras.optimizers.Ftrl(0.05, **more),
    "lion": lambda **more: keras.optimizers.Lion(0.003, **more),
}
EXTRAS = [{}, {}, {"clipnorm": 0.1}, {"global_clipnorm": 0.3}, {"clipvalue": 0.05}, {"weight_decay": 0.02}]


@st.composite
def optimizers(draw):
    """Name and further arguments of an optimizer that treats each entry of a weight by itself."""
    return draw(st.sampled_from(list(OPTIMIZERS))), draw(st.sampled_from(EXTRAS))


def optimizer_of(drawn):
    """A new optimizer."""
    return OPTIMIZERS[drawn[0]](**drawn[1])


_simple = st.one_of(
    st.just(("never",)),
    st.just(("always",)),
    *[st.just(("alternate",))] * 2,
    *[st.tuples(st.just("streak"), st.integers(1, 2))] * 2,
    st.tuples(st.just("trend"), st.integers(1, 2), st.integers(3, 5)),
    st.tuples(st.just("chance"), st.sampled_from([0.3, 0.5, 0.8]), st.integers(0, 99)),
    st.tuples(st.just("schedule"), st.lists(st.booleans(), min_size=1, max_size=12)),
)


@st.composite
def conditions(draw):
    """A motivation condition in plain data."""
    inner = draw(_simple)
    if draw(st.integers(0, 3)):
        return inner
    start = draw(st.integers(0, 3))
    return "between", inner, start, start + draw(st.integers(1, 8))


def condition_of(drawn):
    """A new condition of the package."""
    kind, *arguments = drawn
    if kind == "between":
        return km.Between(condition_of(arguments[0]), *arguments[1:])
    classes = {
        "never": km.Never,
        "always": km.Always,
        "alternate": Alternate,
        "streak": km.LossStreak,
        "trend": km.LossTrend,
        "chance": km.RandomActivation,
        "schedule": km.Schedule,
    }
    return classes[kind](*arguments)


def rule_of(drawn):
    """The rule of the oracle that decides alike."""
    kind, *arguments = drawn
    if kind == "between":
        return oracle.between(rule_of(arguments[0]), *arguments[1:])
    if kind in ("never", "always"):
        return oracle.schedule(np.full(1000, kind == "always"))
    return getattr(oracle, kind)(*arguments)
