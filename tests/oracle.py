"""The paper's procedure to the letter, on stock Keras alone: two separate models, and copies at every switch.

Nothing of the package is used here, neither its weights map nor its conditions. A rule is a generator that yields
whether the next batch is motivated and is sent that batch's loss.
"""

import keras
import numpy as np
from keras import ops


def streak(k):
    """The loss has fallen k times in a row."""
    falls, previous = 0, None
    while True:
        loss = yield falls >= k
        falls = falls + 1 if previous is not None and loss < previous else 0
        previous = loss


def alternate():
    """Every second batch."""
    while True:
        yield False
        yield True


def schedule(places):
    """The places of a list, and none after its end."""
    yield from (bool(place) for place in places)
    while True:
        yield False


def trend(fast, slow):
    """A fast running mean of the loss is below a slow one."""
    means = None
    while True:
        loss = yield means is not None and means[0] < means[1]
        spans = (fast, slow)
        means = [loss, loss] if means is None else [m + (loss - m) / span for m, span in zip(means, spans)]


def chance(probability, seed):
    """Every batch by chance: the first by a draw of numpy's, the others by Keras's."""
    loss = yield np.random.default_rng(seed).random() < probability
    draws = keras.random.SeedGenerator(seed)
    while loss is not None:
        loss = yield float(keras.random.uniform((), seed=draws)) < probability


def between(rule, start, stop):
    """Another rule, which hears all losses, from one batch on and until before another."""
    inner, batch = next(rule), 0
    while True:
        loss = yield inner and start <= batch < stop
        inner, batch = rule.send(loss), batch + 1


class LiteralProcedure:
    """Trains `base`, and where a rule says so `motivated`, which contains it.

    Args:
        base: A model, compiled with an optimizer of its own.
        motivated: The larger model, compiled with another of the same kind.
        rule: A rule, or a number of falls in a row.
        statistics: "shared" or "private".
        pairs: `(base weight, motivated weight)` of the shared weights, with the base's positions on each axis of the
            latter as a third if they are not the first ones; by name if not given.
    """

    def __init__(self, base, motivated, rule, statistics="shared", pairs=None):
        self.base, self.motivated = base, motivated
        self.rule = streak(rule) if isinstance(rule, int) else rule
        if pairs is None:
            partners = {weight.path: weight for weight in motivated.weights}
            pairs = [(weight, partners[weight.path]) for weight in base.weights]
        self.pairs = [
            (inner, outer, np.ix_(*(places[0] if places else map(range, inner.shape))))
            for inner, outer, *places in pairs
        ]
        for model in (base, motivated):
            model.optimizer.build(model.trainable_variables)
        self.own_counts = values(v for v in motivated.optimizer.variables if v.shape == ())
        self.copy_in()
        if statistics == "private":  # from now on, each model keeps its own buffers
            self.pairs = [pair for pair in self.pairs if pair[0].trainable]

    def train(self, batches):
        """Returns the loss of each batch and whether it was motivated."""
        losses, flags = [], []
        motivated = next(self.rule)
        for x, y in batches:
            if motivated:
                self.copy_in()
                loss = self._train_motivated(x, y)
                self.copy_out()
            else:
                loss = float(self.base.train_on_batch(x, y))
            losses.append(loss)
            flags.append(motivated)
            motivated = self.rule.send(loss)
        self.copy_in()
        return losses, flags

    def _train_motivated(self, x, y):
        """Adam and its kin update the extension by its own count: so by a second training on the same batch."""
        optimizer = self.motivated.optimizer
        state = [*self.motivated.variables, *optimizer.variables]
        before = values(state)
        loss = float(self.motivated.train_on_batch(x, y))
        if not any(name in type(optimizer).__name__ for name in ("Adam", "Nadam")):
            return loss
        mapped = [outer for _, outer, _ in self.pairs]
        counts = [v for v in optimizer.variables if v.shape == ()]
        after = values(mapped), values(counts)
        assign(state, before)
        assign(counts, self.own_counts)
        self.motivated.train_on_batch(x, y)
        self.own_counts = values(counts)
        for (_, outer, part), value in zip(self.pairs, after[0]):
            whole = values([outer])[0]
            whole[part] = value[part]
            outer.assign(whole)
        assign(counts, after[1])
        return loss

    def copy_in(self):
        for inner, outer, places in self._all_pairs():
            value = np.array(ops.convert_to_numpy(outer.value))
            value[places] = ops.convert_to_numpy(inner.value)
            outer.assign(value)

    def copy_out(self):
        for inner, outer, places in self._all_pairs():
            inner.assign(ops.convert_to_numpy(outer.value)[places])

    def _all_pairs(self):
        """Weights and buffers, the optimizers' slots of the mapped weights, and their counts."""
        yield from self.pairs
        optimizers = self.base.optimizer, self.motivated.optimizer
        positions = [
            {id(v): i for i, v in enumerate(model.trainable_variables)} for model in (self.base, self.motivated)
        ]
        for inner_slots, outer_slots in zip(*map(slots, optimizers), strict=True):
            for inner, outer, places in self.pairs:
                if id(inner) in positions[0]:
                    yield inner_slots[positions[0][id(inner)]], outer_slots[positions[1][id(outer)]], places
        for counts in zip(*([v for v in o.variables if v.shape == ()] for o in optimizers), strict=True):
            yield *counts, ()


def values(variables):
    return [np.array(ops.convert_to_numpy(variable.value)) for variable in variables]


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def slots(optimizer):
    """The optimizer's variables for the trained ones, kind by kind, each in their order."""
    own = {id(v) for v in optimizer.variables}
    lists = [value for name, value in vars(optimizer).items() if isinstance(value, list) and name != "_variables"]
    return [found for found in lists if found and all(id(v) in own for v in found)]
