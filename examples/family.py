"""Three sizes from one training: ResNets of 1, 2 and 3 blocks a stage, each inside the next, on scikit-learn's digits.

For your own data: replace the digits by your images, and `resnet` by a function that builds your model in several
sizes. Weights are matched by layer name. Width may grow as well as depth.

Test accuracy under PyTorch with one seed: small 0.994, medium 0.992, large 0.989, in 33 s of one core.
The cost was 0.89 of training the largest model alone.
"""

import argparse
from pathlib import Path

import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_motivation as km

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--output", type=Path, default=Path("output"))
options = parser.parse_args()
digits = load_digits()  # 1,797 images of 8x8 pixels with values up to 16
images = (digits.images[..., None] / 16).astype("float32")
x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.2, random_state=0)


def resnet(blocks: int) -> keras.Model:
    """Two stages of `blocks` residual blocks."""
    x = inputs = keras.Input((8, 8, 1))
    for stage in (1, 2):
        x = layers.Conv2D(16 * stage, 3, strides=stage, padding="same", name=f"stage{stage}")(x)
        for block in range(blocks):
            y, name = x, f"stage{stage}_block{block}"
            for i in (1, 2):
                y = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm{i}")(y)
                y = layers.Activation("relu", name=f"{name}_relu{i}")(y)
                y = layers.Conv2D(16 * stage, 3, padding="same", use_bias=False, name=f"{name}_conv{i}")(y)
            x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Activation("relu", name="last_relu")(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="head")(x), name=f"resnet_{blocks}")


keras.utils.set_random_seed(0)
model = km.MotivatedModel(resnet(1), [resnet(2), resnet(3)])
rate = keras.optimizers.schedules.CosineDecay(3e-3, options.epochs * len(x) // 32)
# Levels 0, 1 and 2 train one model, the first, second or third. Levels 3 and 4 train the first two or all three.
phases, kinds = km.Phases((0.4, 0), (0.6, 1), (0.8, 2), (1.0, 4)), ["alternate", "joint"]
loss = "sparse_categorical_crossentropy"
model.compile(keras.optimizers.AdamW(rate), loss, metrics=["accuracy"], motivation=phases, motivated_batch=kinds)
history = model.fit(x, y, batch_size=32, epochs=options.epochs, validation_data=(x_test, y_test), verbose=2).history

print(f"Cost: {model.training_cost().relative_to_motivated:.2f} of training the largest model alone")
names = {"small": "val_accuracy", "medium": "val_motivated_1_accuracy", "large": "val_motivated_2_accuracy"}
print("Test accuracy: " + ", ".join(f"{size} {history[name][-1]:.3f}" for size, name in names.items()))
options.output.mkdir(parents=True, exist_ok=True)
for size, trained in zip(names, model.models):
    trained.save(options.output / f"family_{size}.keras")
