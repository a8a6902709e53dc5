"""Train once, deploy two sizes: a nested ResNet pair on scikit-learn's digits (1,797 real 8x8 images).

Run it with `make quickstart`. It trains the pair, and for comparison both models alone for the same number of epochs.
It prints one table, and writes `base.keras`, `motivated.keras` and `motivation.png`. It takes about a minute on two
cores.
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
    """Two stages of `blocks` residual blocks. Weights are matched by the names of the layers."""
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


def draw(path: Path, record: km.MotivationHistory, histories: dict[str, dict], costs: dict[str, float]) -> None:
    """Draws the loss of each batch with motivated batches marked, and test accuracy against training cost."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    km.plots.plot_losses(record, ax=left)
    km.plots.plot_accuracy(histories, costs, ax=right)
    lowest = min(min(history["val_accuracy"]) for history in histories.values())
    right.set(ylim=(max(lowest, 0.9) - 0.02, 1.005), ylabel="test accuracy")
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

    def fit(
        model: keras.Model, **compile_arguments: km.MotivationCondition
    ) -> tuple[km.MotivationHistory | None, dict]:
        print(f"\nTraining {model.name} on the {keras.backend.backend()} backend")
        optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(3e-3, 40 * options.epochs))
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **compile_arguments)
        record = km.MotivationHistory() if compile_arguments else None
        callbacks = [record] if record else []
        return record, model.fit(**data, epochs=options.epochs, batch_size=32, callbacks=callbacks).history

    def build(blocks: int) -> keras.Model:
        keras.utils.set_random_seed(options.seed)  # the same start in the pair and alone
        return resnet(blocks)

    model = km.MotivatedModel(build(1), build(3), name="the_pair")
    model.weights_map.summary()
    record, pair = fit(model, motivation=km.LossStreak(k=options.k))
    assert record is not None
    base_alone, large_alone = build(1), build(3)
    _, base_history = fit(base_alone)
    _, large_history = fit(large_alone)

    cost = model.training_cost()
    ratio = cost.motivated_alone / cost.base_alone
    print(f"\n{record.motivated.mean():.1%} of the batches were motivated.")
    print(f"The motivated model costs {ratio:.2f} times the base a batch.\n")
    print(f"{'model':<32}{'parameters':>11}{'test accuracy':>15}{'training cost *':>17}")
    rows = [
        ("base, of the pair", model.base, pair["val_accuracy"], cost.relative_to_motivated),
        ("motivated, of the pair", model.motivated, pair["val_motivated_accuracy"], None),
        ("base alone", base_alone, base_history["val_accuracy"], 1 / ratio),
        ("motivated alone", large_alone, large_history["val_accuracy"], 1.0),
    ]
    for name, trained, accuracy, relative in rows:
        shown = "(same fit)" if relative is None else f"{relative:.2f}"
        print(f"{name:<32}{trained.count_params():>11,}{accuracy[-1]:>15.4f}{shown:>17}")
    print("* FLOPs of training, relative to training the larger model alone; one run, one seed")

    model.base.save(options.output / "base.keras")
    model.motivated.save(options.output / "motivated.keras")
    histories: dict[str, dict] = {"pair": pair, "base alone": base_history, "motivated alone": large_history}
    costs: dict[str, float] = {
        "pair": cost.flops,
        "base alone": cost.base_alone,
        "motivated alone": cost.motivated_alone,
    }
    draw(options.output / "motivation.png", record, histories, costs)
    print(f"\nWrote base.keras, motivated.keras and motivation.png to {options.output.resolve()}")


if __name__ == "__main__":
    main()
