"""Several nested models trained as the paper trains two: separate stock models, and copies of what they share.

Nothing of the package is used here. A batch trains some of the models, each from the same start, and what it changes
in one model is added in all others, where they have the weight: gradients of a sum of losses are sums. So with more
than one model in a batch, this is exact for plain SGD only.
"""

import numpy as np
from keras import ops
from oracle import slots


class LiteralChain:
    """Trains nested models of which each has the weights of the one before, by path, at the first positions.

    Args:
        models: The models, the smallest first, each compiled with an optimizer of its own of the same kind.
        statistics: "shared" or "private".
    """

    def __init__(self, models, statistics):
        self.models, self.statistics = models, statistics
        for model in models:
            model.optimizer.build(model.trainable_variables)
        for i, model in enumerate(models):  # each gives its weights to the larger ones
            self.add([{path: values(v) for path, v in self.named(model).items()}], models[i + 1 :], start=True)

    def named(self, model):
        """Weights by path; slots of the optimizer by kind and path; and its count."""
        found = {v.path: v for v in model.weights}
        for kind, own in enumerate(slots(model.optimizer)):
            found |= {f"{kind} {v.path}": slot for v, slot in zip(model.trainable_variables, own)}
        return found | {"count": model.optimizer.iterations}

    def train(self, batches, levels):
        """Trains each batch by the `(model, weight)` terms of its level; returns the first model's loss of each."""
        losses = []
        for (x, y), terms in zip(batches, levels):
            changes = []
            for size, weight in terms:
                model = self.models[size]
                own = self.named(model)
                before = {path: values(v) for path, v in own.items()}
                loss = float(model.train_on_batch(x, y))
                losses += [] if changes else [loss]
                found = {path: values(v) - before[path] for path, v in own.items()}
                buffers = {path: found.pop(path) for path in [v.path for v in model.non_trainable_weights]}
                if self.statistics == "shared":  # at once, since the next model updates them further
                    found |= buffers
                for path in found:
                    own[path].assign(before[path])
                if self.statistics == "shared":
                    self.add([buffers], self.models)
                changes.append({path: weight * change for path, change in found.items() if path not in buffers})
                changes[-1]["count"] = found["count"] if len(changes) == 1 else 0 * found["count"]  # one update
            self.add(changes, self.models)
        return losses

    def add(self, changes, models, start=False):
        """Adds changes to the weights of some models, or sets the weights at the start."""
        for model in models:
            for path, v in self.named(model).items():
                value = values(v)
                for change in changes:
                    if path in change:
                        part = tuple(map(slice, np.minimum(value.shape, change[path].shape)))
                        value[part] = change[path][part] if start else value[part] + change[path][part]
                v.assign(value)


def values(variable):
    return np.array(ops.convert_to_numpy(variable.value))
