"""Train once, deploy two sizes: a nested ResNet pair on scikit-learn's digits (1,797 real 8x8 images).

Run it with `make quickstart`. It trains the pair and, to compare, both models alone for as many epochs, prints one
table, and writes `base.keras`, `motivated.keras` and `motivation.png`. It takes about a minute on two cores.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import keras_motivation as km


def resnet(blocks: int, width: int = 16) -> keras.Model:
    """Two stages of `blocks` residual blocks. The names of the layers say which weight is which across sizes."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="stem")(inputs)
    for stage in (1, 2):
        for block in range(1, blocks + 1):
            name, filters = f"stage{stage}_block{block}", width * stage
            stride = 2 if stage == 2 and block == 1 else 1
            shortcut = layers.Conv2D(filters, 1, strides=2, name=f"{name}_shortcut")(x) if stride == 2 else x
            for i in (1, 2):
                x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm{i}")(x)
                x = layers.Activation("relu", name=f"{name}_relu{i}")(x)
                x = layers.Conv2D(
                    filters, 3, strides=stride if i == 1 else 1, padding="same", use_bias=False, name=f"{name}_conv{i}"
                )(x)
            x = layers.Add(name=f"{name}_add")([shortcut, x])
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Activation("relu", name="last_relu")(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="head")(x), name=f"resnet_{blocks}")


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of convolutions and matrix products for one image."""
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return sum(int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:-1])) for layer in kernels)


class BatchLog(keras.callbacks.Callback):
    """Loss of each batch and whether it was motivated, from the running means that Keras reports."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.losses: list[float] = []
        self.motivated: list[bool] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.sums = np.zeros(2)

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        sums = (batch + 1) * np.array([float(logs["loss"]), float(logs["motivated"])])
        loss, motivated = sums - self.sums
        self.sums = sums
        self.losses.append(loss)
        self.motivated.append(motivated > 0.5)


def draw(path: Path, log: BatchLog, histories: dict[str, list[float]]) -> None:
    """Loss by batch with the motivated batches marked, and test accuracy by epoch."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    steps, losses, motivated = np.arange(len(log.losses)), np.array(log.losses), np.array(log.motivated)
    left.plot(steps, losses, color="0.75", linewidth=0.8)
    left.scatter(steps[~motivated], losses[~motivated], s=6, color="tab:blue", label="base batch")
    left.scatter(steps[motivated], losses[motivated], s=14, color="tab:red", label="motivated batch")
    left.set(xlabel="batch", ylabel="training loss", yscale="log", title="Which model trained")
    left.legend()
    for name, accuracy in histories.items():
        style = "--" if "alone" in name else "-"
        color = "tab:blue" if name.startswith("base") else "tab:red"
        right.plot(np.arange(1, len(accuracy) + 1), accuracy, style, color=color, label=name)
    right.set(xlabel="epoch", ylabel="test accuracy", ylim=(max(0.0, min(map(min, histories.values())) - 0.02), 1.005))
    right.set_title("Test accuracy")
    right.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, prints, draws and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--k", type=int, default=2, help="falls of the loss in a row that start motivation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("."))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    images = (digits.images[..., None] / 16.0).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1280], order[1280:]  # 40 batches of 32
    data = {"x": images[train], "y": digits.target[train], "validation_data": (images[test], digits.target[test])}

    def fit(model: keras.Model, **compile_arguments: km.MotivationCondition) -> tuple[BatchLog | None, dict]:
        print(f"\nTraining {model.name} on the {keras.backend.backend()} backend")
        optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(3e-3, 40 * options.epochs))
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **compile_arguments)
        log = BatchLog() if compile_arguments else None
        callbacks = [log] if log else []
        return log, model.fit(**data, epochs=options.epochs, batch_size=32, callbacks=callbacks).history

    def build(blocks: int) -> keras.Model:
        keras.utils.set_random_seed(options.seed)  # the same start in the pair and alone
        return resnet(blocks)

    model = km.MotivatedModel(build(1), build(3), name="the_pair")
    model.weights_map.summary()
    log, pair = fit(model, motivation=km.LossStreak(k=options.k))
    assert log is not None
    base_alone, large_alone = build(1), build(3)
    _, base_history = fit(base_alone)
    _, large_history = fit(large_alone)

    share = float(np.mean(log.motivated))
    ratio = multiply_adds(model.motivated) / multiply_adds(model.base)
    print(
        f"\n{share:.1%} of the batches were motivated; the motivated model costs {ratio:.2f} times the base a batch.\n"
    )
    print(f"{'model':<32}{'parameters':>11}{'test accuracy':>15}{'training cost *':>17}")
    rows = [
        ("base, of the pair", model.base, pair["val_accuracy"], ((1 - share) + share * ratio) / ratio),
        ("motivated, of the pair", model.motivated, pair["val_motivated_accuracy"], None),
        ("base alone", base_alone, base_history["val_accuracy"], 1 / ratio),
        ("motivated alone", large_alone, large_history["val_accuracy"], 1.0),
    ]
    for name, trained, accuracy, cost in rows:
        relative = "(same fit)" if cost is None else f"{cost:.2f}"
        print(f"{name:<32}{trained.count_params():>11,}{accuracy[-1]:>15.4f}{relative:>17}")
    print("* multiply-adds of training, relative to training the larger model alone; one run, one seed")

    model.base.save(options.output / "base.keras")
    model.motivated.save(options.output / "motivated.keras")
    draw(options.output / "motivation.png", log, {name: accuracy for name, _, accuracy, _ in rows})
    print(f"\nWrote base.keras, motivated.keras and motivation.png to {options.output.resolve()}")


if __name__ == "__main__":
    main()
