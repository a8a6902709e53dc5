"""EfficientNetB0 inside EfficientNetB1, both from `keras.applications`, on scikit-learn's digits.

For your own data: replace the digits by your images, set `SIZE` to 224 and `classes` to yours, train for tens of epochs
with a decaying learning rate, and remove the loop that sets momentum.

After 4 epochs neither model has converged: the nets are large for 1,437 images, and only a fifth of the batches trained
the motivated model. The example shows the code, not a good result.
"""

import argparse
import os
from pathlib import Path

# PyTorch, because JAX runs depthwise convolutions slowly on a CPU. On a GPU use any backend.
os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_motivation as km

SIZE = 32

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--output", type=Path, default=Path("output"))
options = parser.parse_args()

# 1,797 images of 8x8 pixels become 32x32x3 in [0, 255]. EfficientNet itself rescales this range.
digits = load_digits()
images = np.kron(digits.images, np.ones((1, SIZE // 8, SIZE // 8)))[..., None].repeat(3, axis=-1) * (255 / 16)
x, x_test, y, y_test = train_test_split(images.astype("float32"), digits.target, test_size=0.2, random_state=0)

keras.utils.set_random_seed(0)
base = keras.applications.EfficientNetB0(weights=None, input_shape=(SIZE, SIZE, 3), classes=10)
motivated = keras.applications.EfficientNetB1(weights=None, input_shape=(SIZE, SIZE, 3), classes=10)
for layer in [*base.layers, *motivated.layers]:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.9  # for moving statistics in a run of 360 batches; the default is for thousands

model = km.MotivatedModel(base, motivated)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], motivation=km.LossStreak(k=2))
history = model.fit(x, y, batch_size=16, epochs=options.epochs, validation_data=(x_test, y_test), verbose=2).history

print(f"Motivated batches: {sum(history['motivated']) / options.epochs:.0%}")
print(f"Test accuracy: base {history['val_accuracy'][-1]:.3f}, motivated {history['val_motivated_accuracy'][-1]:.3f}")
options.output.mkdir(parents=True, exist_ok=True)
model.base.save(options.output / "efficientnet_base.keras")
model.motivated.save(options.output / "efficientnet_motivated.keras")
