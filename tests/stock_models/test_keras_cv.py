"""Pairs of KerasCV's backbones, by their plain classes: its alias constructors fetch their sizes from the network."""

import keras
import numpy as np
import pytest
from families import assert_works, pictures, with_head
from helpers import numpy
from race import Race, restore

import keras_motivation as km

pytestmark = pytest.mark.cv
cv = pytest.importorskip("keras_cv").models

from zoo.cv import CASES  # noqa: E402


def resnet(cls, filters, blocks, kind):
    return cls(
        stackwise_filters=filters,
        stackwise_blocks=blocks,
        stackwise_strides=[1, 2],
        block_type=kind,
        input_shape=(16, 16, 3),
        include_rescaling=True,
    )


def efficientnet(repeats, width):
    return cv.EfficientNetV2Backbone(
        include_rescaling=True,
        width_coefficient=width,
        depth_coefficient=1.0,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=repeats,
        stackwise_input_filters=[32, 16],
        stackwise_output_filters=[16, 32],
        stackwise_expansion_ratios=[1, 4],
        stackwise_squeeze_and_excite_ratios=[0, 0.25],
        stackwise_strides=[1, 2],
        stackwise_conv_types=["fused", "unfused"],
        input_shape=(16, 16, 3),
    )


def vit_det(depth, global_attention, window=2):
    return cv.ViTDetBackbone(
        input_shape=(16, 16, 3),
        include_rescaling=True,
        patch_size=4,
        embed_dim=8,
        depth=depth,
        mlp_dim=16,
        num_heads=2,
        out_chans=4,
        use_bias=True,
        use_rel_pos=True,
        use_abs_pos=True,
        window_size=window,
        global_attention_indices=global_attention,
    )


def basic(cls):
    return lambda: resnet(cls, [64, 16], [2, 2], "basic_block"), lambda: resnet(cls, [64, 16], [3, 4], "basic_block")


def bottleneck(cls):
    return lambda: resnet(cls, [64, 16], [2, 2], "block"), lambda: resnet(cls, [64, 16], [2, 4], "block")


PAIRS = {
    "ResNet 18 in 34": basic(cv.ResNetBackbone),
    "ResNet 50 in 101": bottleneck(cv.ResNetBackbone),
    "ResNetV2 18 in 34": basic(cv.ResNetV2Backbone),
    "ResNetV2 50 in 101": bottleneck(cv.ResNetV2Backbone),
    "EfficientNetV2 depth": (lambda: efficientnet([1, 2], 1.0), lambda: efficientnet([2, 3], 1.0)),
    "EfficientNetV2 width": (lambda: efficientnet([1, 2], 1.0), lambda: efficientnet([1, 2], 1.2)),
    "ViTDet depth": (lambda: vit_det(2, [1]), lambda: vit_det(4, [1, 3])),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_pair(kind, tmp_path):
    base, motivated = PAIRS[kind]
    assert_works(with_head(base()), with_head(motivated()), *pictures(16), "exact", tmp_path)


def test_the_last_block_of_a_pre_activation_stage_stays_the_last():
    base, motivated = (build() for build in basic(cv.ResNetV2Backbone))
    names = {e.base.path: e.motivated.path for e in km.WeightsMap.infer(base, motivated).entries}
    assert names["v2_stack_1_block1_1_conv/kernel"] == "v2_stack_1_block1_1_conv/kernel"
    assert names["v2_stack_1_block2_1_conv/kernel"] == "v2_stack_1_block4_1_conv/kernel"


def test_windows_must_agree():
    with pytest.raises(ValueError, match="window_size=2 in the base and 3 in the other"):
        km.WeightsMap.infer(vit_det(2, [1]), vit_det(2, [1], window=3))
    with pytest.raises(ValueError, match="several layers of the motivated model can be a layer of the base"):
        km.WeightsMap.infer(vit_det(2, [1]), vit_det(4, [1, 3], window=3))
    weights_map = km.WeightsMap.infer(vit_det(2, [1]), vit_det(4, [3]))  # global attention in the last block
    assert weights_map.verdict.nesting == "exact"


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="under PyTorch Keras itself fails on them; JAX compiles for minutes"
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Keras, about data sets
def test_a_detector_takes_dictionaries():
    """One batch: after more of them, rounding decides which boxes its loss chooses."""
    import tensorflow as tf

    case = next(case for case in CASES if case.family == "YOLOV8" and case.task == "Detector")
    race = Race(case, batches=1, epochs=1)
    x, y, _, _ = race.data
    data = tf.data.Dataset.from_tensor_slices({"images": x, "bounding_boxes": y}).batch(len(x))
    stock = case.build(*case.sizes[1])
    restore(stock, race.start[1])
    losses = []
    for model, options in ((stock, {}), (race.pair, {"motivation": "always"})):
        model.compile(optimizer=keras.optimizers.SGD(1e-3), **case.compiled, jit_compile=False, **options)
        losses.append(model.fit(data, verbose=0).history)
    for name, series in losses[0].items():
        np.testing.assert_allclose(losses[1][name], series, rtol=1e-5)
    for mine, theirs in zip(race.pair.motivated.variables, stock.variables):
        np.testing.assert_allclose(numpy(mine), numpy(theirs), rtol=1e-3, atol=1e-4, err_msg=mine.path)
    found, expected = race.pair.predict(x, verbose=0), race.pair.base.predict(x, verbose=0)
    assert set(found) == {"boxes", "confidence", "classes", "num_detections"}
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])
