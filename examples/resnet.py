"""A ResNet of 1 block a stage inside one of 2 blocks a stage, both from KerasHub, on scikit-learn's digits.

For your own data: replace the digits by your images, set `image_shape=(224, 224, 3)`, and take the sizes of ResNet50
and ResNet101: `block_type="bottleneck_block"` with `stackwise_num_blocks=[3, 4, 6, 3]` and `[3, 4, 23, 3]`. Channels
can grow as well as blocks, but KerasHub requires 64 filters in the first stage.

Test accuracy under PyTorch with one seed: base 0.994, motivated 0.994, in 24 s of one core.
"""

import argparse
from pathlib import Path

import keras
import keras_hub
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_motivation as km

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--output", type=Path, default=Path("output"))
options = parser.parse_args()

digits = load_digits()  # 1,797 images of 8x8 pixels with values up to 16
images = (digits.images.repeat(2, axis=1).repeat(2, axis=2)[..., None] / 16).astype("float32")
x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.2, random_state=0)


def resnet(blocks: int) -> keras.Model:
    """A residual network with two stages of `blocks` blocks."""
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[blocks, blocks],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(16, 16, 1),
    )
    return keras_hub.models.ResNetImageClassifier(backbone, num_classes=10)


keras.utils.set_random_seed(0)
model = km.MotivatedModel(resnet(blocks=1), resnet(blocks=2))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"], motivation=km.LossStreak(k=2))
history = model.fit(x, y, batch_size=32, epochs=options.epochs, validation_data=(x_test, y_test), verbose=2).history

print(f"Motivated batches: {sum(history['motivated']) / options.epochs:.0%}")
print(f"Test accuracy: base {history['val_accuracy'][-1]:.3f}, motivated {history['val_motivated_accuracy'][-1]:.3f}")
options.output.mkdir(parents=True, exist_ok=True)
model.base.save(options.output / "resnet_base.keras")
model.motivated.save(options.output / "resnet_motivated.keras")
