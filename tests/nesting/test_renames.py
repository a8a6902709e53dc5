"""`rename` as a dictionary: the user says which layer is which, for example that a base lacks layers in the middle."""

import keras
import numpy as np
import pytest
from helpers import images, numpy, randomise, resnet
from keras import layers

import keras_motivation as km


def assert_partners(weights_map, names):
    """Of each weight of the base, the partner is the weight of that name in the layer that the dictionary says."""
    found = {e.base.path: e.motivated.path for e in weights_map.entries}
    assert found == {
        v.path: "/".join(names.get(part, part) for part in v.path.split("/")) for v in weights_map.base.weights
    }


def assert_computes_the_base(weights_map, x):
    """By other means than the check's: the base's weights at their places, all others without effect."""
    model = km.MotivatedModel(randomise(weights_map.base), weights_map.motivated, weights_map)
    assert model.extension == "silent"
    expected = model.base.predict(x, verbose=0)
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(model.motivated.predict(x, verbose=0), expected, atol=1e-6)


MIDDLE = {"norm1": "norm3", "conv1": "conv3", "norm2": "norm4", "conv2": "conv4"}


@pytest.mark.parametrize("width", [4, 6])
def test_layers_in_the_middle(width):
    """With more channels at the same time, too."""
    weights_map = km.WeightsMap.infer(resnet(4, 3), resnet(width, 5), rename=MIDDLE)
    assert weights_map.verdict.nesting == "exact"
    assert_partners(weights_map, MIDDLE)
    assert_computes_the_base(weights_map, images()[0])


def test_a_dictionary_says_what_the_function_says():
    base, motivated = resnet(4, 3), resnet(6, 5)
    one, other = (
        km.WeightsMap.infer(base, motivated, rename=rename) for rename in (MIDDLE, lambda name: MIDDLE.get(name, name))
    )
    assert one.get_config() == other.get_config()


@keras.saving.register_keras_serializable("test_renames")
class Tower(layers.Layer):
    """Residual blocks inside one layer, named by their numbers as in model libraries."""

    def __init__(self, blocks, width, **kwargs):
        super().__init__(**kwargs)
        self.config = {"blocks": blocks, "width": width}
        self.up = [layers.Dense(width, "relu", name=f"block_{i}") for i in range(blocks)]
        self.down = [layers.Dense(4, name=f"down_{i}") for i in range(blocks)]

    def build(self, shape):
        for up, down in zip(self.up, self.down):
            up.build(shape)
            down.build((None, self.config["width"]))

    def call(self, x):
        for up, down in zip(self.up, self.down):
            x = x + down(up(x))
        return x

    def get_config(self):
        return super().get_config() | self.config


def two_towers(left, right, width):
    inputs = keras.Input((4,))
    x = layers.Add()([Tower(left, width, name="left")(inputs), Tower(right, width, name="right")(inputs)])
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


ROWS = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


@pytest.mark.parametrize("width", [5, 7])
def test_layers_inside_layers(width):
    """A name holds at every depth."""
    names = {"block_1": "block_2", "down_1": "down_2"}
    weights_map = km.WeightsMap.infer(two_towers(2, 2, 5), two_towers(3, 3, width), rename=names)
    assert weights_map.verdict.nesting == "exact"
    assert_partners(weights_map, names)
    assert_computes_the_base(weights_map, ROWS)


def test_a_path_tells_layers_of_the_same_name_apart():
    base, motivated = two_towers(2, 2, 5), two_towers(2, 3, 7)
    names = {"block_1": "block_2", "down_1": "down_2"}
    with pytest.raises(ValueError, match="partner of layer 'left/block_1' 'block_2', and there is none of that name"):
        km.WeightsMap.infer(base, motivated, rename=names)
    rename = {f"right/{name}": partner for name, partner in names.items()}
    weights_map = km.WeightsMap.infer(base, motivated, rename=rename)
    assert weights_map.verdict.nesting == "exact"
    partners = {e.base.path: e.motivated.path for e in weights_map.entries}
    assert partners["left/block_1/kernel"] == "left/block_1/kernel"
    assert partners["right/block_1/kernel"] == "right/block_2/kernel"
    same = {f"right/{name}": f"right/{partner}" for name, partner in names.items()}
    assert km.WeightsMap.infer(base, motivated, rename=same).get_config() == weights_map.get_config()
    with pytest.raises(ValueError, match="'right/block_1' 'left/block_2', and there is none"):
        km.WeightsMap.infer(base, motivated, rename=rename | {"right/block_1": "left/block_2"})


def test_the_longest_path_decides():
    rename = {"block_1": "block_2", "down_1": "down_2", "left/block_1": "block_1", "left/down_1": "down_1"}
    weights_map = km.WeightsMap.infer(two_towers(2, 2, 5), two_towers(2, 3, 5), rename=rename)
    assert weights_map.verdict.nesting == "exact"


def numbered(blocks, width=4, sequential=False):
    """Layers whose names Keras numbers, on from model to model."""
    if sequential:
        return keras.Sequential([keras.Input((4,)), *[Tower(1, width) for _ in range(blocks)], layers.Dense(2)])
    inputs = x = keras.Input((4,))
    for _ in range(blocks):
        x = layers.Add()([x, layers.Dense(4)(layers.Dense(width, "relu")(x))])
    return keras.Model(inputs, layers.Dense(2)(x))


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("width", [4, 6])
def test_layers_that_keras_numbered(sequential, width):
    """The first layer of a block settles the others, and `dense_3` of the base is no claim on the other `dense_3`."""
    keras.utils.clear_session()
    base = numbered(2, 4, sequential)
    keras.utils.clear_session()
    motivated = numbered(4, width, sequential)
    step = 1 if sequential else 2
    ours, theirs = ([layer for layer in model.layers if layer.variables] for model in (base, motivated))
    rename = {ours[0].name: theirs[0].name, ours[step].name: theirs[3 * step].name}
    weights_map = km.WeightsMap.infer(base, motivated, rename=rename)
    assert weights_map.verdict.nesting == "exact"
    places = [ours.index(layer) for layer in ours]
    expected = {0: 0, 1: 3, 2: 4} if sequential else {0: 0, 1: 1, 2: 6, 3: 7, 4: 8}
    partners = {id(e.base): e.motivated for e in weights_map.entries}
    for i in places:
        for inner, outer in zip(ours[i].weights, theirs[expected[i]].weights, strict=True):
            assert partners[id(inner)] is outer
    assert_computes_the_base(weights_map, ROWS)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"conv7": "conv1"}, r"names of the base's layers as keys\. Received: 'conv7', .*similar: conv\d"),
        ({"left/conv1": "conv1"}, "Received: 'left/conv1', which is no layer"),
        ({"conv1": "conv9"}, r"partner of layer 'conv1' 'conv9', and there is none of that name \(similar: conv\d"),
        ({"conv1": "activation"}, "must name one layer with weights.*'activation', and there is none"),
        ({"conv1": "conv4", "conv2": "conv4"}, "partner of its own. Received: 'conv4' for both 'conv1' and 'conv2'"),
        ({"conv1": "conv2"}, "Received: 'conv2' for 'conv1', and nothing for the base's own 'conv2'"),
        ({"conv1": "norm4"}, "'conv1' is a Conv2D in the base and a BatchNormalization"),
        ({"stem": "conv3", "conv1": "stem"}, r"'stem/kernel' \(3, 3, 2, 4\) against .* has no partner|dimension"),
    ],
)
def test_what_is_refused(rename, message):
    with pytest.raises(ValueError, match=message):
        km.WeightsMap.infer(resnet(4, 3), resnet(4, 5), rename=rename)


def test_a_layer_without_weights_has_no_partner():
    base, motivated = resnet(4, 1), resnet(4, 2)
    base.layers[-2].name = "pool"
    with pytest.raises(ValueError, match=r"must name layers that have weights. Received: \['pool'\]"):
        km.WeightsMap.infer(base, motivated, rename={"pool": "pool"})


@pytest.mark.parametrize("rename", [["conv1"], {"conv1": 3}, {1: "conv1"}, "conv1"])
def test_another_type_is_refused(rename):
    with pytest.raises(TypeError, match="Argument `rename` must"):
        km.WeightsMap.infer(resnet(4, 3), resnet(4, 5), rename=rename)


def test_a_partner_of_another_shape_is_refused():
    def net(*widths):
        inputs = x = keras.Input((4,))
        for i, width in enumerate(widths):
            x = layers.Add()([x, layers.Dense(4, name=f"down{i}")(layers.Dense(width, name=f"up{i}")(x))])
        return keras.Model(inputs, x)

    base, motivated = net(8, 8), net(8, 4, 8)
    with pytest.raises(ValueError, match=r"'up1/kernel' \(4, 8\) against 'up1/kernel' \(4, 4\): a dimension"):
        km.WeightsMap.infer(base, motivated)
    rename = {"up1": "up2", "down1": "down2"}
    assert km.WeightsMap.infer(base, motivated, rename=rename).verdict.nesting == "exact"


def test_blocks_in_another_order_are_refused():
    swapped = {"conv0": "conv3", "norm0": "norm3", "conv1": "conv0", "norm1": "norm0"}
    with pytest.raises(ValueError, match="with the extension at zero, the outputs differ"):
        km.WeightsMap.infer(resnet(4, 2), resnet(4, 4), rename=swapped)


def test_saved_with_the_pair(tmp_path):
    x, y = images(6)
    base, motivated = randomise(resnet(4, 3), 1), randomise(resnet(6, 5), 2)
    pair = km.MotivatedModel(base, motivated, km.WeightsMap.infer(base, motivated, rename=MIDDLE))
    pair.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), motivation="always")
    pair.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    pair.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert loaded.weights_map.get_config() == pair.weights_map.get_config()
    assert_partners(loaded.weights_map, MIDDLE)
    for model in (pair, loaded):
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    for ours, theirs in zip(pair.models, loaded.models):
        for variable, other in zip(ours.variables, theirs.variables):
            np.testing.assert_array_equal(numpy(variable), numpy(other))
