"""A RetinaNet of KerasHub inside a deeper one: find handwritten digits on a canvas, and say which digit each is.

The models bring their own loss, so `compile` needs none. For your own data: load a RetinaNet of your size by
`from_preset`, once per size, and pass images and a dictionary of boxes and labels as KerasHub's own `fit` takes them.
"""

import argparse
import pathlib
import time

import keras
import keras_hub
import numpy as np
from sklearn.datasets import load_digits

import keras_motivation as km

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--images", type=int, default=960, help="of the training set")
parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output"))
options = parser.parse_args()
SIDE, CLASSES, DIGITS, BATCH = 64, 10, 2, 16
models = keras_hub.models


def canvases(digits: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Noisy canvases with a digit in the left and one in the right half; boxes as top, left, bottom, right."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 0.3, (count, SIDE, SIDE, 1))
    boxes, classes = np.zeros((count, DIGITS, 4), "float32"), np.zeros((count, DIGITS), "int32")
    for image, its_boxes, its_classes in zip(images, boxes, classes):
        for i in range(DIGITS):
            chosen, scale = rng.integers(len(digits)), rng.integers(2, 5)  # 16, 24 or 32 pixels
            side, half = 8 * scale, SIDE // DIGITS
            top, left = rng.integers(0, SIDE - side + 1), i * half + rng.integers(0, half - side + 1)
            image[top : top + side, left : left + side, 0] += np.kron(digits[chosen], np.ones((scale, scale)))
            its_boxes[i], its_classes[i] = (top, left, top + side, left + side), labels[chosen]
    return np.repeat(np.minimum(images, 1), 3, axis=-1).astype("float32"), {"boxes": boxes, "labels": classes}


def detector(blocks: int) -> keras.Model:
    """A small RetinaNet. The encoder has this many blocks in each stage."""
    encoder = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64, 128],
        stackwise_num_blocks=[blocks] * 3,
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        use_pre_activation=True,
        image_shape=(SIDE, SIDE, 3),
    )
    backbone = models.RetinaNetBackbone(encoder, min_level=4, max_level=4, use_p5=False, image_shape=(SIDE, SIDE, 3))
    # Squares of 16, 20 and 25 pixels at 4 x 4 places.
    anchors = keras_hub.layers.AnchorGenerator(
        "yxyx", min_level=4, max_level=4, num_scales=3, aspect_ratios=[1.0], anchor_size=1.0
    )
    return models.RetinaNetObjectDetector(
        backbone,
        num_classes=CLASSES,
        bounding_box_format="yxyx",
        anchor_generator=anchors,
        pre_logits_num_conv_layers=1,
        preprocessor=None,
    )


def found(model: keras.Model, images: np.ndarray, truth: dict[str, np.ndarray]) -> float:
    """The share of digits that a box of the right digit, among the two surest ones, covers by half or more."""
    guess = model.predict(images, batch_size=64, verbose=0)
    hits = 0
    for i in range(len(images)):
        surest = np.argsort(-guess["confidence"][i])[:DIGITS]
        overlap = keras.utils.bounding_boxes.compute_iou(
            truth["boxes"][i], guess["boxes"][i][surest].astype("float32"), bounding_box_format="yxyx"
        )
        same = truth["labels"][i][:, None] == guess["labels"][i][surest]
        hits += np.sum(np.any((keras.ops.convert_to_numpy(overlap) >= 0.5) & same, axis=1))
    return hits / truth["labels"].size


def rate() -> keras.optimizers.Optimizer:
    steps = options.epochs * options.images // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4, steps - steps // 10, warmup_target=1e-3, warmup_steps=steps // 10
    )
    return keras.optimizers.Adam(schedule, global_clipnorm=10.0)


digits, labels = load_digits(return_X_y=True)
digits = digits.reshape(-1, 8, 8) / 16
x, y = canvases(digits[:1400], labels[:1400], options.images, seed=0)
test_x, test_y = canvases(digits[1400:], labels[1400:], 200, seed=1)

keras.utils.set_random_seed(0)
pair = km.MotivatedModel(detector(1), detector(2))
pair.compile(rate(), motivation=km.Phases((0.5, 0), (1.0, 1)), motivated_batch="joint")
start = time.perf_counter()
pair.fit(x, y, batch_size=BATCH, epochs=options.epochs, verbose=2)
print(f"{time.perf_counter() - start:.0f} s")
print(f"Cost: {pair.training_cost().relative_to_motivated:.2f} of training the motivated model alone")
print(
    f"Digits found: base {found(pair.base, test_x, test_y):.3f}, motivated {found(pair.motivated, test_x, test_y):.3f}"
)
for name, blocks in (("base", 1), ("motivated", 2)):
    keras.utils.set_random_seed(0)
    twin = detector(blocks)
    twin.compile(rate())
    start = time.perf_counter()
    twin.fit(x, y, batch_size=BATCH, epochs=options.epochs, verbose=2)
    print(f"{name} {time.perf_counter() - start:.0f} s {found(twin, test_x, test_y):.3f}")
