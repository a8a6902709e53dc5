"""How fast `fit` takes in-memory images in each form that Keras knows, by a model that hardly computes.

KERAS_BACKEND=jax python benchmarks/inputs.py --output benchmarks/results/speed/inputs.jsonl
"""

import argparse
import pathlib
from collections.abc import Callable

import keras
import numpy as np
from reporting import report
from timing import rounds

import keras_motivation as km


class Slices(keras.utils.PyDataset):
    """Batches cut from arrays."""

    def __init__(self, x: np.ndarray, y: np.ndarray, batch: int) -> None:
        super().__init__()
        self.x, self.y, self.batch = x, y, batch

    def __len__(self) -> int:
        return len(self.x) // self.batch

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        here = slice(index * self.batch, (index + 1) * self.batch)
        return self.x[here], self.y[here]


def forms(x: np.ndarray, y: np.ndarray, batch: int) -> dict[str, tuple[object, object]]:
    """The same batches as arguments `x` and `y` of `fit`."""
    found: dict[str, tuple[object, object]] = {
        "NumPy arrays": (x, y),
        "tensors": (keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)),
        "PyDataset": (Slices(x, y, batch), None),
    }
    try:
        import tensorflow as tf

        found["tf.data"] = (tf.data.Dataset.from_tensor_slices((x, y)).batch(batch).prefetch(2), None)
    except ImportError:
        pass
    try:
        import torch

        data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
        found["DataLoader"] = (torch.utils.data.DataLoader(data, batch), None)
    except ImportError:
        pass
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--side", type=int, default=32, help="of the images")
    add("--batch", type=int, default=128)
    add("--steps", type=int, default=50, help="batches an epoch")
    add("--rounds", type=int, default=5)
    add("--output", type=pathlib.Path, help="file to append the line to")
    options = parser.parse_args()
    x = np.random.default_rng(0).random((options.batch * options.steps, options.side, options.side, 3), np.float32)
    y = np.zeros(len(x), "int32")

    def net(width: int) -> keras.Model:
        hidden = keras.layers.Dense(width, name="hidden")
        pool = keras.layers.GlobalAveragePooling2D()
        return keras.Sequential([keras.Input(x.shape[1:]), pool, hidden, keras.layers.Dense(10, name="head")])

    def fit(data: tuple[object, object]) -> Callable[[], object]:
        model = km.MotivatedModel(net(8), net(16))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, motivation=km.LossStreak(k=2))
        kwargs = {} if data[1] is None else {"batch_size": options.batch}
        # In order, in every form: left to itself, `fit` shuffles arrays and not the others.
        return lambda: model.fit(data[0], data[1], verbose=0, shuffle=False, **kwargs)

    subjects = {name: fit(data) for name, data in forms(x, y, options.batch).items()}
    seconds = rounds(subjects, options.rounds)
    figures = {name: round(options.steps / float(np.median([r[name] for r in seconds]))) for name in subjects}
    settings = {name: getattr(options, name) for name in ("side", "batch", "steps", "rounds")}
    report(settings, {"batches_a_second": figures}, options.output)
    print("\n".join(f"{name}: {value} batches a second" for name, value in figures.items()))


if __name__ == "__main__":
    main()
