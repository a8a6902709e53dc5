"""FLOPs against published figures and formulas worked out by hand: the same number on every backend."""

import keras
import pytest
from keras import layers

import keras_motivation as km


def on_image(*stack):
    return keras.Sequential([keras.Input((12, 12, 4)), *stack])


def on_sequence(layer):
    inputs = keras.Input((7, 6))
    return keras.Model(inputs, layer(inputs, inputs) if "Attention" in type(layer).__name__ else layer(inputs))


class WithVector(layers.Layer):
    """A product with a vector, as in attention pooling."""

    def build(self, input_shape):
        self.vector = self.add_weight(shape=(input_shape[-1],), name="vector")

    def call(self, x):
        return keras.ops.matmul(x, self.vector)


# Multiply-adds: entries of the output times what each is a sum of.
BY_HAND = {
    "conv": (lambda: on_image(layers.Conv2D(8, 3, strides=2, padding="same")), 6 * 6 * 8 * 9 * 4),
    "dilated": (lambda: on_image(layers.Conv2D(8, 3, dilation_rate=2, padding="same")), 12 * 12 * 8 * 9 * 4),
    "dilated unevenly": (lambda: on_image(layers.Conv2D(8, 3, dilation_rate=5)), 2 * 2 * 8 * 9 * 4),
    "dilated depthwise": (lambda: on_image(layers.DepthwiseConv2D(3, dilation_rate=5)), 2 * 2 * 4 * 9),
    "grouped": (lambda: on_image(layers.Conv2D(8, 3, groups=2)), 10 * 10 * 8 * 9 * 2),
    "depthwise": (lambda: on_image(layers.DepthwiseConv2D(3, depth_multiplier=2)), 10 * 10 * 8 * 9),
    "separable": (lambda: on_image(layers.SeparableConv2D(6, 3)), 10 * 10 * (4 * 9 + 6 * 4)),
    "transposed": (lambda: on_image(layers.Conv2DTranspose(5, 3, strides=2)), 12 * 12 * 4 * 9 * 5),
    "transposed, stride 1": (lambda: on_image(layers.Conv2DTranspose(5, 3)), 12 * 12 * 4 * 9 * 5),
    "resized": (
        lambda: on_image(layers.UpSampling2D(2, interpolation="bilinear"), layers.Conv2D(2, 1)),
        24 * 24 * 2 * 4,
    ),
    "conv1d": (lambda: on_sequence(layers.Conv1D(5, 3, padding="causal")), 7 * 5 * 3 * 6),
    "causal and dilated": (lambda: on_sequence(layers.Conv1D(5, 3, padding="causal", dilation_rate=2)), 7 * 5 * 3 * 6),
    "conv3d": (
        lambda: keras.Sequential([keras.Input((5, 5, 5, 2)), layers.Conv3D(3, 3)]),
        27 * 3 * 27 * 2,
    ),
    "dense": (lambda: on_sequence(layers.Dense(3)), 7 * 3 * 6),
    "einsum": (lambda: on_sequence(layers.EinsumDense("abc,cde->abde", output_shape=(7, 3, 2))), 7 * 3 * 2 * 6),
    "any axes": (lambda: on_sequence(layers.EinsumDense("...x,xy->...y", output_shape=3)), 7 * 3 * 6),
    "with a vector": (lambda: on_sequence(WithVector()), 7 * 6),
    "lstm": (lambda: on_sequence(layers.LSTM(5)), 7 * (6 + 5) * 20),
    "gru": (lambda: on_sequence(layers.GRU(5, return_sequences=True)), 7 * (6 + 5) * 15),
    "bidirectional": (lambda: on_sequence(layers.Bidirectional(layers.LSTM(3))), 2 * 7 * (6 + 3) * 12),
    # Queries, keys, values and output; scores and weighted values.
    "attention": (lambda: on_sequence(layers.MultiHeadAttention(2, 3)), 4 * 7 * 6 * 6 + 2 * 7 * 7 * 6),
    "norms": (lambda: on_image(layers.BatchNormalization(), layers.LayerNormalization(), layers.ReLU()), 0),
    "lookup": (lambda: keras.Sequential([keras.Input((7,), dtype="int32"), layers.Embedding(10, 4)]), 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    build, multiply_adds = BY_HAND[name]
    assert km.count_flops(build()) == 2 * multiply_adds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "published", "exact"),
    [
        # He et al.'s own ResNet-50, 3.8 G. The variant that strides in the 3x3 convolution has 4.1 G.
        (lambda: keras.applications.ResNet50(weights=None), 3.8e9, 3_857_973_248),
        (lambda: keras.applications.EfficientNetB0(weights=None), 0.39e9, 385_814_752),
        (lambda: keras.applications.MobileNetV2(weights=None), 0.30e9, 300_774_272),
    ],
    ids=["resnet50", "efficientnet_b0", "mobilenet_v2"],
)
def test_published_figures(build, published, exact):
    multiply_adds = km.count_flops(build()) / 2
    assert multiply_adds == pytest.approx(published, rel=0.02)
    assert multiply_adds == pytest.approx(exact, rel=1e-3)  # on every backend


@pytest.mark.slow
def test_published_figures_of_kerashub():
    hub = pytest.importorskip("keras_hub")
    vit = hub.models.ViTBackbone(
        image_shape=(224, 224, 3), patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072
    )
    assert km.count_flops(vit) / 2 == pytest.approx(17.6e9, rel=5e-3)  # ViT-B/16
    resnet = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        image_shape=(224, 224, 3),
    )
    assert km.count_flops(resnet) / 2 == pytest.approx(4.1e9, rel=0.01)  # the variant with the stride in the middle


def test_inputs_by_name_and_open_axes():
    ids, mask = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None, 1), name="mask")
    x = layers.Dense(3)(layers.Embedding(10, 4)(ids) * mask)
    model = keras.Model({"ids": ids, "mask": mask}, x)
    assert km.count_flops(model, {"ids": (5,), "mask": (5, 1)}) == 2 * 5 * 4 * 3
    with pytest.raises(ValueError, match=r"`input_shape` must be given for model .* leave axes open"):
        km.count_flops(model)
    for wrong in ((5,), {"ids": (5,), "mask": (5,)}, {"ids": (0,), "mask": (0, 1)}, {"ids": (5,), "mask": (5, 2)}):
        with pytest.raises(ValueError, match=r"`input_shape` must be the shape of one example.*Received: input_shape="):
            km.count_flops(model, wrong)


def test_a_subclassed_model():
    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(6)

        def call(self, x):
            return self.dense(self.dense(x))

    model = Twice()
    with pytest.raises(ValueError, match="`model` must be a built model"):
        km.count_flops(model)
    model(keras.ops.ones((1, 6)))
    assert km.count_flops(model) == km.count_flops(model, (6,)) == 2 * 2 * 36


def test_several_inputs_of_a_subclassed_model_and_a_fixed_batch():
    class Sum(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs["a"] + inputs["b"])

    model = Sum()
    model({"a": keras.ops.ones((2, 4)), "b": keras.ops.ones((2, 4))})
    assert km.count_flops(model, {"a": (4,), "b": (4,)}) == 2 * 4 * 3
    fixed = keras.Sequential([keras.Input(batch_shape=(8, 4)), layers.Dense(3)])
    assert km.count_flops(fixed) == 2 * 4 * 3
    with pytest.raises(ValueError, match="Received: input_shape=5"):
        km.count_flops(fixed, 5)


def test_nothing_in_the_model_changes():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2)])
    before = [keras.ops.convert_to_numpy(v.value) for v in model.variables]
    flash = keras.config.is_flash_attention_enabled()
    km.count_flops(model)
    for v, value in zip(model.variables, before):
        assert (keras.ops.convert_to_numpy(v.value) == value).all()
    assert keras.config.is_flash_attention_enabled() == flash
