"""The paper's procedure to the letter, on stock Keras alone: two separate models, and copies at every switch.

Nothing of the package is used here, neither its weights map nor its conditions.
"""

import numpy as np
from keras import ops

SLOTS = ("momentums", "_momentums", "_velocities")


class LiteralProcedure:
    """Trains `base`, and while the loss has fallen k times in a row `motivated`, which contains it.

    Both are models with named layers, compiled with an optimizer of their own of the same kind.
    """

    def __init__(self, base, motivated, k, statistics="shared"):
        self.base, self.motivated, self.k = base, motivated, k
        partners = {weight.path: weight for weight in motivated.weights}
        self.pairs = [(weight, partners[weight.path]) for weight in base.weights]
        for model in (base, motivated):
            model.optimizer.build(model.trainable_variables)
        self.copy_in()
        if statistics == "private":  # from now on, each model keeps its own buffers
            self.pairs = [(weight, partner) for weight, partner in self.pairs if weight.trainable]

    def train(self, batches):
        """Returns the loss of each batch and whether it was motivated."""
        losses, flags, falls, previous = [], [], 0, None
        for x, y in batches:
            flags.append(falls >= self.k)
            if flags[-1]:
                self.copy_in()
                loss = float(self.motivated.train_on_batch(x, y))
                self.copy_out()
            else:
                loss = float(self.base.train_on_batch(x, y))
            falls = falls + 1 if previous is not None and loss < previous else 0
            previous = loss
            losses.append(loss)
        self.copy_in()
        return losses, flags

    def copy_in(self):
        for inner, outer in self._all_pairs():
            value = np.array(ops.convert_to_numpy(outer.value))
            value[tuple(slice(0, n) for n in inner.shape)] = ops.convert_to_numpy(inner.value)
            outer.assign(value)
        self.motivated.optimizer.iterations.assign(self.base.optimizer.iterations.value)

    def copy_out(self):
        for inner, outer in self._all_pairs():
            inner.assign(ops.convert_to_numpy(outer.value)[tuple(slice(0, n) for n in inner.shape)])
        self.base.optimizer.iterations.assign(self.motivated.optimizer.iterations.value)

    def _all_pairs(self):
        """Weights and buffers, and the optimizers' slots of the mapped weights."""
        yield from self.pairs
        for slot in SLOTS:
            inner_slots = getattr(self.base.optimizer, slot, None)
            outer_slots = getattr(self.motivated.optimizer, slot, None)
            if not inner_slots:
                continue
            inner_position = {id(v): i for i, v in enumerate(self.base.trainable_variables)}
            outer_position = {id(v): i for i, v in enumerate(self.motivated.trainable_variables)}
            for inner, outer in self.pairs:
                if id(inner) in inner_position:
                    yield inner_slots[inner_position[id(inner)]], outer_slots[outer_position[id(outer)]]
