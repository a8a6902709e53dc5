"""The smallest pairs of keras.applications that nest, with the constructors as they are; and some that do not."""

import keras

from zoo.cases import Case

PAIRS = {
    "EfficientNet": ("EfficientNetB0", "EfficientNetB1"),
    "EfficientNet width": ("EfficientNetB1", "EfficientNetB2"),
    "EfficientNetV2": ("EfficientNetV2B0", "EfficientNetV2B1"),
    "ResNet": ("ResNet50", "ResNet101"),
    "ResNetV2": ("ResNet50V2", "ResNet101V2"),
    "ConvNeXt": ("ConvNeXtTiny", "ConvNeXtSmall"),
    "DenseNet": ("DenseNet121", "DenseNet169"),
    "MobileNetV3": ("MobileNetV3Small", "MobileNetV3Large"),
    "VGG": ("VGG16", "VGG19"),
    "NASNet": ("NASNetMobile", "NASNetLarge"),
    "Inception": ("InceptionV3", "InceptionResNetV2"),
}
# Families of one size, whose width has a factor.
ALPHAS = {"MobileNet": 0.25, "MobileNetV2": 0.35}
LARGE = {"NASNet": 32, "Inception": 75}  # the smallest images they take


def application(name, side=32, **kwargs):
    make = getattr(keras.applications, name)
    return make(weights=None, input_shape=(side, side, 3), classes=3, classifier_activation=None, **kwargs)


CASES = [
    Case("keras.applications", " in ".join(names), "classifier", "size", application, sizes, target="labels")
    for family, names in PAIRS.items()
    for sizes in [tuple((name, LARGE.get(family, 32)) for name in names)]
]
CASES += [
    Case(
        "keras.applications",
        f"{name} {alpha} in 0.5",
        "classifier",
        "width",
        lambda alpha, name=name: application(name, alpha=alpha),
        ((alpha,), (0.5,)),
        target="labels",
    )
    for name, alpha in ALPHAS.items()
]
