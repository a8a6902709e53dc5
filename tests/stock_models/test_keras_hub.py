"""Pairs of KerasHub models, with their constructors as they are. Neither TensorFlow nor grain is needed to fit them."""

import subprocess
import sys

import keras
import pytest
from families import assert_works, pictures, tokens, with_head

import keras_motivation as km

hub = pytest.importorskip("keras_hub").models
# Keras says so of every task of KerasHub that it loads.
pytestmark = pytest.mark.filterwarnings("ignore:.compile... was not called as part of model loading:UserWarning")


def resnet(filters, blocks, kind="basic_block", **kwargs):
    return hub.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=filters,
        stackwise_num_blocks=blocks,
        stackwise_num_strides=[1, 2],
        block_type=kind,
        image_shape=(16, 16, 3),
        **kwargs,
    )


def resnet_classifier(blocks):
    return hub.ResNetImageClassifier(backbone=resnet([64, 32], blocks), num_classes=3, activation=None)


def efficientnet(depth, width, dropout=0.2, repeats=(1, 2)):
    return hub.EfficientNetBackbone(
        stackwise_width_coefficients=[width] * 2,
        stackwise_depth_coefficients=[depth] * 2,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=list(repeats),
        stackwise_input_filters=[32, 16],
        stackwise_output_filters=[16, 24],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25] * 2,
        stackwise_block_types=["v1"] * 2,
        stackwise_force_input_filters=[0] * 2,
        stackwise_nores_option=[False] * 2,
        dropout=dropout,
        activation="silu",
        include_initial_padding=True,
        use_depth_divisor_as_min_depth=True,
        image_shape=(16, 16, 3),
    )


def vit(depth, heads, width, mlp):
    return hub.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_layers=depth, num_heads=heads, hidden_dim=width, mlp_dim=mlp
    )


def vit_classifier(*size):
    return hub.ViTImageClassifier(backbone=vit(*size), num_classes=3, activation=None)


def bert(depth, heads, width, mlp, **kwargs):
    return hub.BertBackbone(
        vocabulary_size=50,
        num_layers=depth,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=mlp,
        max_sequence_length=8,
        **kwargs,
    )


def bert_classifier(*size):
    return hub.BertTextClassifier(backbone=bert(*size), num_classes=3)


IMAGES = {
    "ResNet depth": (lambda: resnet([64, 32], [1, 1]), lambda: resnet([64, 32], [2, 2]), "exact"),
    "ResNet bottleneck depth": (
        lambda: resnet([64, 16], [1, 1], "bottleneck_block"),
        lambda: resnet([64, 16], [2, 3], "bottleneck_block"),
        "exact",
    ),
    "ResNet width": (lambda: resnet([64, 16], [1, 1]), lambda: resnet([64, 24], [1, 2]), "exact"),
    "ResNet pre-activation": (
        lambda: resnet([64, 16], [1, 2], use_pre_activation=True),
        lambda: resnet([64, 16], [2, 3], use_pre_activation=True),
        "exact",
    ),
    "ResNet classifier": (lambda: resnet_classifier([1, 1]), lambda: resnet_classifier([1, 2]), "exact"),
    "EfficientNet depth": (lambda: efficientnet(1.0, 1.0), lambda: efficientnet(1.6, 1.0), "exact"),
    "EfficientNet width": (lambda: efficientnet(1.0, 1.0), lambda: efficientnet(1.0, 1.5), "exact"),
    "ViT depth": (lambda: vit(1, 2, 16, 32), lambda: vit(3, 2, 16, 32), "exact"),
    "ViT MLP width": (lambda: vit(1, 2, 16, 32), lambda: vit(1, 2, 16, 48), "exact"),
    "ViT width and heads": (lambda: vit(1, 2, 16, 32), lambda: vit(2, 3, 24, 48), "up to layer norm"),
    "ViT classifier": (
        lambda: vit_classifier(1, 2, 16, 32),
        lambda: vit_classifier(2, 3, 24, 48),
        "up to layer norm",
    ),
}
TEXT = {
    "BERT width and heads": (lambda: bert(1, 2, 16, 32), lambda: bert(1, 3, 24, 48), "up to layer norm"),
    "BERT MLP width": (lambda: bert(1, 2, 16, 32), lambda: bert(1, 2, 16, 48), "exact"),
    "BERT classifier": (
        lambda: bert_classifier(1, 2, 16, 32),
        lambda: bert_classifier(1, 3, 24, 48),
        "up to layer norm",
    ),
}


def headed(model):
    return model if isinstance(model, (hub.ImageClassifier, hub.TextClassifier)) else with_head(model)


@pytest.mark.parametrize("kind", IMAGES)
def test_image_pair(kind, tmp_path):
    base, motivated, nesting = IMAGES[kind]
    assert_works(headed(base()), headed(motivated()), *pictures(16), nesting, tmp_path)


@pytest.mark.parametrize("kind", TEXT)
def test_text_pair(kind, tmp_path):
    base, motivated, nesting = TEXT[kind]
    assert_works(headed(base()), headed(motivated()), *tokens(), nesting, tmp_path)


@pytest.mark.parametrize("build", [bert, bert_classifier])
def test_bert_depth_trains_with_a_warning(build, tmp_path):
    """BERT normalises after each block: a new one cannot be without effect."""
    base, motivated = headed(build(1, 2, 16, 32)), headed(build(2, 2, 16, 32))
    with pytest.warns(UserWarning, match="cannot be silenced: .*a norm follows it"):
        assert_works(base, motivated, *tokens(), "differs", tmp_path, extension="random")


@pytest.mark.parametrize(
    ("base", "motivated", "message"),
    [
        (lambda: vit(1, 2, 16, 32), lambda: vit(1, 2, 24, 32), "key_dim=8 in the base and 12"),
        (
            lambda: vit(1, 2, 16, 32),
            lambda: hub.ViTBackbone(
                image_shape=(16, 16, 3), patch_size=4, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
            ),
            r"patch_size=\(8, 8\) in the base and \(4, 4\)|a dimension of the base is larger",
        ),
        (
            lambda: resnet([64, 16], [2, 2]),
            lambda: resnet([64, 16], [2, 2], "bottleneck_block"),
            "kernel_size|dimension of the base is larger|no partner",
        ),
    ],
)
def test_what_does_not_nest_is_refused(base, motivated, message):
    with pytest.raises(ValueError, match=message):
        km.WeightsMap.infer(base(), motivated())


def test_ids_and_masks_are_given_by_name():
    """The inputs are a dictionary, as KerasHub's preprocessors make it."""
    model = km.MotivatedModel(with_head(bert(1, 2, 16, 32)), with_head(bert(1, 2, 16, 48)))
    x, _ = tokens()
    assert set(x) == set(model.base.input)
    assert keras.ops.shape(model.predict(x, verbose=0)) == (12, 3)


WITHOUT = """
import sys
sys.modules["tensorflow"] = sys.modules["tensorflow_text"] = sys.modules["grain"] = None  # importing them raises
import keras, keras_hub, numpy as np, keras_motivation as km
def vit(width):
    backbone = keras_hub.models.ViTBackbone((8, 8, 1), 4, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=width)
    return keras_hub.models.ViTImageClassifier(backbone, num_classes=2)
x, y = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32"), np.arange(8) % 2
try:
    vit(8).fit(x, y, batch_size=4, verbose=0)
except Exception as error:
    print("alone:", type(error).__name__)
model = km.MotivatedModel(vit(8), vit(12))
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), motivation="always")
print("pair:", model.fit(x, y, batch_size=4, verbose=0).history["motivated"])
"""


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="about doing without TensorFlow")
def test_a_task_fits_without_tensorflow_and_grain():
    """KerasHub's own `fit` needs one of them; a pair does not, if there is nothing to preprocess."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", WITHOUT], capture_output=True, text=True, timeout=300)
    assert "alone: ImportError" in done.stdout, done.stderr[-2000:]
    assert "pair: [1.0]" in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(unbuilt state|with a mask attached to it):UserWarning")  # KerasHub's own
def test_a_deeper_stage_of_swin():
    """Each stage is one layer, in which the further blocks stand before the one that reduces the resolution."""

    def swin(*depths):
        return hub.SwinTransformerBackbone((16, 16, 3), embed_dim=8, depths=depths, num_heads=(2, 2), window_size=2)

    model = km.MotivatedModel(swin(2, 2), swin(4, 2))
    assert model.weights_map.verdict.nesting == "exact"
    assert model.extension == "silent"


@pytest.mark.slow
def test_segformer_by_other_names():
    def segformer(width, heads):
        encoder = hub.MiTBackbone(
            image_shape=(32, 32, 3),
            num_layers=2,
            layerwise_num_heads=heads,
            hidden_dims=[width, 2 * width],
            layerwise_sr_ratios=[2, 1],
            layerwise_strides=[4, 2],
            layerwise_patch_sizes=[7, 3],
            layerwise_depths=[1, 1],
            max_drop_path_rate=0.1,
        )
        return hub.SegFormerBackbone(image_encoder=encoder, projection_filters=8)

    def partner(name):
        return {"linear_8": "linear_16", "linear_16": "linear_32"}.get(name, name)

    base = segformer(8, [1, 2])
    assert km.WeightsMap.infer(base, segformer(16, [2, 4]), rename=partner).verdict.nesting == "up to layer norm"
    with pytest.raises(ValueError, match=r"first those of layer 'hierarchical_encoder_0_0/.*multihead_attention"):
        km.WeightsMap.infer(base, segformer(16, [1, 2]), rename=partner)  # heads of another size
