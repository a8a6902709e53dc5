"""Transfer learning: trains a pair on one data set, and uses both saved models as backbones for another.

It trains a ResNet pair on the digits 0 to 4 (or `--source cifar10`), and saves `base.keras` and `motivated.keras`. Then
each of them is the backbone for learning the digits 5 to 9 from few examples: first frozen under a new head, then
fine-tuned. For comparison, the same is done from random weights. The saved files are plain Keras models, so the second
half does not need this package.

    KERAS_BACKEND=jax python examples/transfer.py

It takes a minute on one CPU core. One run, one seed, under PyTorch 2.13 (random numbers differ by backend):

    backbone                 frozen  fine-tuned   (test accuracy, 40 training examples)
    base, trained             0.451       0.878
    base, random              0.232       0.785
    motivated, trained        0.504       0.858
    motivated, random         0.333       0.829
"""

import argparse
import pathlib
import tempfile
from collections.abc import Sequence

import keras
import numpy as np
from image_data import load
from image_models import PAIRS
from keras import layers

import keras_motivation as km

SIDE = 16


def images(x: np.ndarray) -> np.ndarray:
    """Converts images to 16x16 with three channels, so that a model for one data set fits the other."""
    x = np.repeat(np.repeat(x, max(1, SIDE // x.shape[1]), axis=1), max(1, SIDE // x.shape[2]), axis=2)
    return np.broadcast_to(x, (*x.shape[:3], 3)).astype("float32")


def source_data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Training data of the first task."""
    x, y, _, _ = load(name, image_size=None if name == "digits" else SIDE)
    return (images(x[y < 5]), y[y < 5]) if name == "digits" else (images(x), y)


def target_data(examples: int) -> tuple[np.ndarray, ...]:
    """The digits 5 to 9: few for training, and all of the test set."""
    x, y, x_test, y_test = load("digits")
    parts = x[y > 4][:examples], y[y > 4][:examples] - 5, x_test[y_test > 4], y_test[y_test > 4] - 5
    return images(parts[0]), parts[1], images(parts[2]), parts[3]


def learn(backbone: keras.Model, epochs: int, data: tuple[np.ndarray, ...]) -> tuple[float, float]:
    """Test accuracy with a new head on the frozen backbone, and after fine-tuning the whole model."""
    x, y, x_test, y_test = data
    features = keras.Model(backbone.input, backbone.get_layer("pool").output)
    model = keras.Sequential([features, layers.Dense(5)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    accuracies = []
    for trainable, rate in ((False, 1e-2), (True, 1e-3)):
        features.trainable = trainable
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        model.fit(x, y, batch_size=20, epochs=epochs, verbose=0)
        km.recalibrate_batch_norm(model, [x])
        accuracies.append(model.evaluate(x_test, y_test, verbose=0)[1])
    return accuracies[0], accuracies[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the pair, saves both models, transfers each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="digits", help="digits, cifar10, or an .npz with the arrays of cifar10")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--target-examples", type=int, default=40)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()))
    options = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)

    x, y = source_data(options.source)
    build = [lambda make=make: make(x.shape[1:], int(y.max()) + 1, flip=False) for make in PAIRS["resnet-8/14"]]
    model = km.MotivatedModel(build[0](), build[1]())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"], motivation=km.LossStreak(k=1))
    model.fit(x, y, batch_size=64, epochs=options.epochs, verbose=2)
    for name, nested in (("base", model.base), ("motivated", model.motivated)):
        km.recalibrate_batch_norm(nested, [x[i : i + 64] for i in range(0, min(len(x), 2048), 64)])
        nested.save(options.output / f"{name}.keras")

    data = target_data(options.target_examples)
    print(f"\n{'backbone':<22}{'frozen':>9}{'fine-tuned':>12}   (test accuracy, {len(data[0])} training examples)")
    for name, make in zip(("base", "motivated"), build):
        for start in ("trained", "random"):
            backbone = keras.models.load_model(options.output / f"{name}.keras") if start == "trained" else make()
            frozen, tuned = learn(backbone, options.epochs, data)
            print(f"{name + ', ' + start:<22}{frozen:>9.3f}{tuned:>12.3f}")


if __name__ == "__main__":
    main()
