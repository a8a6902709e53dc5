"""Pairs of keras.applications, with the constructors as they are.

They take minutes to compile under JAX and TensorFlow, so that they run under PyTorch; under the others with
`--all-pairs`, step by step without compiling.
"""

import keras
import pytest
from families import assert_works, pictures

import keras_motivation as km

PAIRS = [
    ("EfficientNetB0", "EfficientNetB1"),  # depth
    ("EfficientNetB1", "EfficientNetB2"),  # width
    ("EfficientNetB0", "EfficientNetB3"),  # both
    ("ResNet50", "ResNet101"),
    ("ResNet101", "ResNet152"),
    ("ResNet50V2", "ResNet101V2"),  # the last block of a stage carries the stride
    ("ConvNeXtTiny", "ConvNeXtSmall"),  # layers are called after the model
    ("DenseNet121", "DenseNet169"),  # each layer's channels are joined to those before it
]


def build(name):
    make = getattr(keras.applications, name)
    return make(weights=None, input_shape=(32, 32, 3), classes=3, classifier_activation=None)


@pytest.mark.slow
@pytest.mark.parametrize(("base", "motivated"), PAIRS)
def test_pair(base, motivated, tmp_path, every_backend_or_fastest):
    models = build(base), build(motivated)
    model = assert_works(*models, *pictures(), "exact", tmp_path, run_eagerly=keras.backend.backend() != "torch")
    names = {e.base.path: e.motivated.path for e in model.weights_map.entries}
    if base == "ResNet50V2":
        assert names["conv4_block6_2_conv/kernel"] == "conv4_block23_2_conv/kernel"
        assert names["conv4_block5_2_conv/kernel"] == "conv4_block5_2_conv/kernel"


def test_one_name_for_both_models():
    models = [
        getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=3, name="convnext")
        for name in ("ConvNeXtTiny", "ConvNeXtSmall")
    ]
    weights_map = km.WeightsMap.infer(*models, check=False)
    assert len(weights_map.entries) == len(models[0].weights)
    scales = [e for e in weights_map.entries if "layer_scale" in e.base.path]
    assert len(scales) == 18
    assert all(e.base.path.split("/")[0] == e.motivated.path.split("/")[0] for e in scales)
