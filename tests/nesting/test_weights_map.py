"""Finding, checking, printing and rebuilding weights maps."""

import keras
import numpy as np
import pytest
from helpers import mlp, pair_of, resnet
from keras import layers

import keras_motivation as km


def paths(weights_map):
    return [(e.base.path, e.motivated.path) for e in weights_map.entries]


def test_trainable_weights_and_buffers_are_mapped_as_prefixes():
    base, motivated = resnet(4, 1), resnet(6, 2)
    weights_map = km.WeightsMap.infer(base, motivated)
    assert [e.base.path for e in weights_map.entries] == [v.path for v in base.weights]
    for entry in weights_map.entries:
        assert entry.base.path == entry.motivated.path
        assert entry.index == tuple(slice(0, n) for n in entry.base.shape)
    assert any(e.base.path.endswith("moving_mean") for e in weights_map.entries)


def unnamed(width, blocks=1):
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(width, 3)(inputs)
    for _ in range(blocks):
        x = layers.Conv2D(width, 1)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Dense(5)(x))))


@pytest.mark.parametrize("gap", [0, 3])
def test_auto_numbered_layers_are_paired_by_their_order(gap):
    """Two models built one after the other by the same code: conv2d, conv2d_1 against conv2d_5, conv2d_6."""
    base = unnamed(3)
    for _ in range(gap):
        layers.Conv2D(1, 1)
    motivated = unnamed(4)
    assert [layer.name for layer in base.layers] != [layer.name for layer in motivated.layers]
    weights_map = km.WeightsMap.infer(base, motivated)
    order = {id(v): i for i, v in enumerate(motivated.variables)}
    assert [order[id(e.motivated)] for e in weights_map.entries] == list(range(len(base.variables)))


def test_auto_numbers_are_ordered_as_numbers():
    """conv2d_9 comes before conv2d_10."""
    for _ in range(8):
        layers.Dense(1)
    models = [keras.Sequential([keras.Input((4,)), *[layers.Dense(w) for _ in range(4)]]) for w in (4, 5)]
    weights_map = km.WeightsMap.infer(*models)
    shapes = [(tuple(e.base.shape), tuple(e.motivated.shape)) for e in weights_map.entries if len(e.base.shape) == 2]
    assert shapes == [((4, 4), (4, 5)), *[((4, 4), (5, 5))] * 3]


def residual(*activations):
    inputs = keras.Input((5,))
    x = layers.Dense(4)(inputs)
    for activation in activations:
        x = layers.Add()([x, layers.Dense(4, activation)(x)])
    return keras.Model(inputs, layers.Dense(2)(x))


def test_auto_numbered_layers_in_unequal_number_are_refused_with_advice():
    """If the graphs do not tell which is which."""
    with pytest.raises(ValueError, match=r"3 unnamed Dense layers \(dense, .*\) against 5 .*\n(.*\n)*Give corres"):
        km.WeightsMap.infer(residual("relu"), residual("relu", "gelu", "relu"))


def test_chosen_names_must_agree_even_if_they_look_numbered():
    def named(*names):
        return keras.Sequential([keras.Input((4,)), *[layers.Dense(4, name=name) for name in names]])

    weights_map = km.WeightsMap.infer(named("stage_2"), named("stage_1", "stage_2"), check=False)
    assert {e.motivated.path.split("/")[-2] for e in weights_map.entries} == {"stage_2"}
    with pytest.raises(ValueError, match="stage_3' with 2 weights has no partner of that name"):
        km.WeightsMap.infer(named("stage_3"), named("stage_1", "stage_2"))


def test_sequential_in_functional_and_nested_backbones():
    def backbone(width, name):
        return keras.Sequential([keras.Input((5,)), layers.Dense(width, name="body")], name=name)

    def wrapped(width, name):
        inputs = keras.Input((5,))
        return keras.Model(inputs, layers.Dense(2, name="head")(backbone(width, name)(inputs)))

    weights_map = km.WeightsMap.infer(wrapped(3, "small"), wrapped(4, "large"))
    assert len(weights_map.entries) == 4
    sequential = keras.Sequential([keras.Input((5,)), layers.Dense(3, name="body"), layers.Dense(2, name="head")])
    functional_inputs = keras.Input((5,))
    functional = keras.Model(
        functional_inputs, layers.Dense(2, name="head")(layers.Dense(4, name="body")(functional_inputs))
    )
    assert len(km.WeightsMap.infer(sequential, functional).entries) == 4


def test_random_seeds_and_normalization_constants_stay_out():
    def model(width):
        normalization = layers.Normalization()
        normalization.adapt(np.arange(12.0).reshape(3, 4))
        return keras.Sequential(
            [keras.Input((4,)), normalization, layers.Dense(width), layers.Dropout(0.5), layers.Dense(2)]
        )

    weights_map = km.WeightsMap.infer(model(3), model(4))
    assert len(weights_map.entries) == 4


def test_explicit_entries_and_index_arrays():
    """A base that lives in every second channel."""
    base, motivated = mlp(4, 0), mlp(8, 0)
    every_second = np.arange(0, 8, 2)
    inner, outer = base.weights, motivated.weights
    weights_map = km.WeightsMap(
        base,
        motivated,
        [
            (inner[0], outer[0], (slice(None), every_second)),
            km.Entry(inner[1], outer[1], (slice(0, 8, 2),)),
            (inner[2], outer[2], (every_second, slice(None))),
            (inner[3], outer[3]),
        ],
    )
    model = km.MotivatedModel(base, motivated, weights_map)
    kernel = keras.ops.convert_to_numpy(model.motivated.weights[0].value)
    np.testing.assert_array_equal(kernel[:, ::2], keras.ops.convert_to_numpy(base.weights[0].value))
    again = km.WeightsMap.from_config(weights_map.get_config(), base, motivated)
    for one, other in zip(weights_map.placements, again.placements):
        assert one.whole == other.whole
        np.testing.assert_array_equal(one.mask, other.mask)


def test_bidirectional_layers_of_the_same_code():
    models = [
        keras.Sequential([keras.Input((4, 3)), layers.Bidirectional(layers.GRU(2)), layers.Dense(w)]) for w in (2, 2)
    ]
    weights_map = km.WeightsMap.infer(*models)
    for entry in weights_map.entries:
        assert ("backward" in entry.base.path) == ("backward" in entry.motivated.path)
    assert len(weights_map.entries) == 8


def test_a_repeated_name_is_matched_in_order_or_refused():
    class Blocks(keras.Model):
        def __init__(self, depth):
            super().__init__()
            self.blocks = [layers.Dense(3, name="block") for _ in range(depth)]

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    models = [Blocks(depth) for depth in (2, 2, 3)]
    for model in models:
        model(np.ones((1, 3), "float32"))
    weights_map = km.WeightsMap.infer(models[0], models[1])
    assert [e.motivated is v for e, v in zip(weights_map.entries, models[1].variables)] == [True] * 4
    with pytest.raises(ValueError, match="2 layers share the name 'block' against 3"):
        km.WeightsMap.infer(models[0], models[2])


def test_summary():
    lines = []
    km.WeightsMap.infer(resnet(4, 1), resnet(6, 2)).summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "resnet_4_1 in resnet_6_2" in text
    assert "4 of 6 layers matched: 0 whole, 4 extended in width; 2 new (depth)" in text
    assert "stem" in text
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (lambda b, m: [], "'first/kernel' .*has no partner"),
        (lambda b, m: [*zip(b, m), (b[0], m[2])], "mapped twice"),
        (lambda b, m: [(m[0], b[0]), *zip(b, m)], "not a variable of the base model"),
        (lambda b, m: [(b[0], m[0], (slice(None),)), *zip(b[1:], m[1:])], "the index has 1 axes"),
        (lambda b, m: [(b[0], m[0], (slice(None), slice(0, 2))), *zip(b[1:], m[1:])], r"selects the shape \(5, 2\)"),
        (lambda b, m: [(b[0], m[0], (slice(None), [0, 1, 2, 9])), *zip(b[1:], m[1:])], "does not fit"),
        (lambda b, m: [(b[0], m[0], (slice(None), [0, 1, 2, 2])), *zip(b[1:], m[1:])], "selects an entry twice"),
        (lambda b, m: [(b[0], m[1]), *zip(b[1:], m[1:])], "the ranks differ"),
    ],
)
def test_explicit_maps_are_checked(entries, message):
    base, motivated = mlp(4, 0), mlp(8, 0)
    with pytest.raises(ValueError, match=message):
        km.WeightsMap(base, motivated, entries(base.weights, motivated.weights))


def test_other_refusals_name_the_variables():
    def one(layer, units=4):
        return keras.Sequential([keras.Input((4, 4)), layer, layers.Dense(2, name="head")])

    with pytest.raises(ValueError, match="x' is a Dense in the base and a Conv1D"):
        km.WeightsMap.infer(one(layers.Dense(3, name="x")), one(layers.Conv1D(3, 1, name="x")))
    with pytest.raises(ValueError, match=r"'.*bias' \(3,\) has no partner"):
        km.WeightsMap.infer(one(layers.Dense(3, name="x")), one(layers.Dense(3, name="x", use_bias=False)))
    with pytest.raises(ValueError, match="the dtypes float32 and float16 differ"):
        km.WeightsMap.infer(one(layers.Dense(3, name="x")), one(layers.Dense(3, name="x", dtype="float16")))
    shared = layers.Dense(3, name="x")
    with pytest.raises(ValueError, match="the same variable in both models"):
        km.WeightsMap.infer(one(shared), one(shared))  # MotivatedModel refuses earlier
    base, motivated = pair_of("both")
    with pytest.raises(ValueError, match="are the two swapped"):
        km.WeightsMap.infer(motivated, base)


def named_by_width(widths):
    """Layers whose names carry their widths, of which one model's first is the other's second."""
    inputs = x = keras.Input((4,))
    for width in widths:
        x = layers.Dense(width, "relu", name=f"linear_{width}")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def test_rename_finds_partners_whose_names_carry_a_width():
    base, motivated = named_by_width((8, 16)), named_by_width((16, 32))

    def doubled(name):
        return f"linear_{2 * int(name[7:])}" if name.startswith("linear_") else name

    with pytest.raises(
        ValueError,
        match=r"(?s)'linear_16/kernel' \(8, 16\) .* a dimension of the base is larger.*rename=\.\.\.",
    ):
        km.WeightsMap.infer(base, motivated)
    weights_map = km.WeightsMap.infer(base, motivated, rename=doubled)
    assert weights_map.verdict.nesting == "exact"
    assert ("linear_16/kernel", "linear_32/kernel") in paths(weights_map)
    with pytest.raises(
        ValueError, match=r"calls the partner of layer 'linear_8' 'linear_9', and there is none.*linear_16"
    ):
        km.WeightsMap.infer(base, motivated, rename=lambda name: name.replace("linear_8", "linear_9"))
    with pytest.raises(TypeError, match=r"returns a layer's name for a layer's name\. Received: None for"):
        km.WeightsMap.infer(base, motivated, rename={}.get)


@pytest.mark.parametrize("position", [2, 6])
def test_rename_tells_apart_what_keras_numbered(position):
    base, motivated = residual("relu"), residual("relu", "gelu", "relu")
    with pytest.raises(ValueError, match="which of them correspond cannot be known"):
        km.WeightsMap.infer(base, motivated, check=False)
    ours, partner = base.layers[2], motivated.layers[position]
    weights_map = km.WeightsMap.infer(base, motivated, rename=lambda n: partner.name if n == ours.name else n)
    assert weights_map.verdict.nesting == "exact"
    assert {id(e.base): e.motivated for e in weights_map.entries}[id(ours.kernel)] is partner.kernel


def test_names_that_carry_a_width():
    def build(width, names):
        stack = [keras.layers.Dense(width, "relu", name=name) for name in names]
        return keras.Sequential([keras.Input((4,)), *stack, keras.layers.Dense(2, name="head")])

    weights_map = km.WeightsMap.infer(build(8, ("to_8", "mix_8", "mix_8b")), build(16, ("to_16", "mix_16", "mix_16b")))
    assert weights_map.verdict.nesting == "exact"
    assert len(weights_map.entries) == 8
    with pytest.raises(ValueError, match="no partner of that name"):  # which of the two it is, nobody says
        km.WeightsMap.infer(build(8, ("to_8",)), build(16, ("to_16", "to_17")))
