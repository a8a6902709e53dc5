"""The nested pairs of the image experiments, by name. All take pixels from 0 to 255 and give logits.

Augmentation is a part of the models, as Keras layers that act only in training. So on every backend it runs inside the
compiled step.
"""

from collections.abc import Callable

import keras
from keras import layers


def augmented(inputs: keras.KerasTensor, flip: bool | None) -> keras.KerasTensor:
    """Standard augmentation: shifts of up to an eighth of the image, and mirroring. None if `flip` is None."""
    if flip is None:
        return inputs
    shift = layers.RandomTranslation(0.125, 0.125, fill_mode="constant", interpolation="nearest", name="shift")
    # Keras says that this layer does not support XLA. Under JAX, it would run the whole model op by op.
    shift.supports_jit = keras.backend.backend() == "jax"
    x = shift(inputs)
    return layers.RandomFlip("horizontal", name="mirror")(x) if flip else x


def resnet(depth: int, width: int = 16) -> Callable[..., keras.Model]:
    """A ResNet for small images, of 6n+2 layers in three stages (He et al. 2016, section 4.2)."""

    def build(shape: tuple[int, ...], classes: int, flip: bool | None) -> keras.Model:
        def conv_norm(x: keras.KerasTensor, filters: int, size: int, stride: int, name: str) -> keras.KerasTensor:
            conv = layers.Conv2D(
                filters, size, stride, "same", use_bias=False, kernel_initializer="he_normal", name=name
            )
            return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(conv(x))

        inputs = keras.Input(shape)
        x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(augmented(inputs, flip))
        x = layers.ReLU(name="stem_relu")(conv_norm(x, width, 3, 1, "stem"))
        for stage in range(3):
            filters = width * 2**stage
            for block in range((depth - 2) // 6):
                name, stride = f"stage{stage + 1}_block{block + 1}", 2 if stage and not block else 1
                y = layers.ReLU(name=f"{name}_relu1")(conv_norm(x, filters, 3, stride, f"{name}_conv1"))
                y = conv_norm(y, filters, 3, 1, f"{name}_conv2")
                x = conv_norm(x, filters, 1, stride, f"{name}_shortcut") if stride > 1 else x
                x = layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, y]))
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        return keras.Model(inputs, layers.Dense(classes, name="head")(x), name=f"resnet_{depth}_{width}")

    return build


def efficientnet(size: int) -> Callable[..., keras.Model]:
    """EfficientNet-B0, B1 or B2 of keras.applications, for images of 64 and more: it makes them 32 times smaller."""

    def build(shape: tuple[int, ...], classes: int, flip: bool | None) -> keras.Model:
        application = getattr(keras.applications, f"EfficientNetB{size}")
        inputs = keras.Input(shape)
        net = application(weights=None, input_shape=shape, classes=classes, classifier_activation=None)
        return keras.Model(inputs, net(augmented(inputs, flip)), name=f"efficientnet_b{size}")

    return build


def vit(blocks: int, heads: int) -> Callable[..., keras.Model]:
    """KerasHub's ViT with heads of 32 channels and 64 patches an image."""

    def build(shape: tuple[int, ...], classes: int, flip: bool | None) -> keras.Model:
        import keras_hub

        inputs = keras.Input(shape)
        x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(augmented(inputs, flip))
        backbone = keras_hub.models.ViTBackbone(
            image_shape=shape,
            patch_size=max(1, shape[0] // 8),
            num_layers=blocks,
            num_heads=heads,
            hidden_dim=32 * heads,
            mlp_dim=64 * heads,
            name="backbone",
        )
        classifier = keras_hub.models.ViTImageClassifier(backbone, num_classes=classes, name="classifier")
        return keras.Model(inputs, classifier(x), name=f"vit_{blocks}_{heads}")

    return build


def dense(width: int) -> Callable[..., keras.Model]:
    """Two hidden layers. They need so little time that the host's work for each batch is visible."""

    def build(shape: tuple[int, ...], classes: int, flip: bool | None) -> keras.Model:
        inputs = keras.Input(shape)
        x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(inputs)
        x = layers.Flatten(name="pixels")(x)
        for name in ("hidden1", "hidden2"):
            x = layers.Dense(width, "relu", name=name)(x)
        return keras.Model(inputs, layers.Dense(classes, name="head")(x), name=f"dense_{width}")

    return build


PAIRS: dict[str, tuple[Callable[..., keras.Model], Callable[..., keras.Model]]] = {
    "resnet-8/14": (resnet(8), resnet(14)),
    "resnet-8/8-wide": (resnet(8), resnet(8, width=24)),
    "resnet-8/14-wide": (resnet(8), resnet(14, width=24)),
    "resnet-20/32": (resnet(20), resnet(32)),
    "resnet-20/56": (resnet(20), resnet(56)),
    "resnet-56/110": (resnet(56), resnet(110)),
    "resnet-20/20-wide": (resnet(20), resnet(20, width=24)),
    "efficientnet-b0/b1": (efficientnet(0), efficientnet(1)),
    "efficientnet-b1/b2": (efficientnet(1), efficientnet(2)),
    "vit-tiny/small": (vit(6, 3), vit(8, 6)),
    "dense-64/128": (dense(64), dense(128)),
}
