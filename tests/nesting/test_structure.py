"""Layers that Keras numbered, in unequal number: the graphs tell which correspond, or a reason why they cannot."""

import bare_models as bare
import keras
import pytest
from keras import layers
from published import assert_equals_stock
from zoo.cases import Case

import keras_motivation as km

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from random_blocks import Builder, descriptions

SILENT = {
    "transformer": (bare.transformer, 1, 2),
    "deeper transformer": (bare.transformer, 2, 3),
    "compact transformer": (bare.compact_transformer, 2, 3),
    "residual series": (bare.residual_series, 1, 3),
    "cross network": (bare.cross, 2, 3),
    "resnet": (bare.resnet, 1, 3),
    "deeper resnet": (bare.resnet, 2, 3),
    "strided last": (bare.strided_last, 1, 3),
    "deeper strided last": (bare.strided_last, 2, 3),
}
# Blocks that the base's signal goes through, so that nothing makes them silent.
IN_THE_WAY = {
    "conv mixer": (bare.conv_mixer, 1, 3),
    "deeper conv mixer": (bare.conv_mixer, 2, 3),
    "branch of a sum": (bare.projected, 1, 2),
    "deeper branch of a sum": (bare.projected, 2, 3),
    "perceptron": (bare.perceptron, 1, 3),
    "deeper perceptron": (bare.perceptron, 2, 3),
    "wide and deep": (bare.wide_and_deep, 2, 3),
}
PAIRS = SILENT | IN_THE_WAY


def positions(weights_map):
    """Which variable of the base is which of the motivated model, by their positions."""
    return [(base, motivated) for base, motivated, _ in weights_map.get_config()["entries"]]


@pytest.mark.parametrize("case", PAIRS)
def test_the_map_is_that_of_named_layers(case):
    build, small, large = PAIRS[case]
    found = km.WeightsMap.infer(build(small), build(large), check=False)
    expected = km.WeightsMap.infer(bare.named(build(small)), bare.named(build(large)), check=False)
    assert len(found.entries) == len(found.base.variables)
    assert positions(found) == positions(expected)


@pytest.mark.parametrize("case", SILENT)
def test_blocks_with_a_way_around_them_nest_and_start_silent(case):
    build, small, large = SILENT[case]
    model = km.MotivatedModel(build(small), build(large))
    assert model.weights_map.verdict.nesting == "exact"
    assert model.extension == "silent"


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_blocks_in_the_way_are_warned_of(case):
    build, small, large = IN_THE_WAY[case]
    with pytest.warns(UserWarning, match="cannot be silenced"):
        model = km.MotivatedModel(build(small), build(large))
    assert model.extension == "random"


@pytest.mark.parametrize("case", ["transformer", pytest.param("cross network", marks=pytest.mark.slow)])
def test_trains_as_the_stock_model(case):
    build, small, large = SILENT[case]
    assert_equals_stock(Case("bare", case, "classifier", "depth", build, ((small,), (large,)), "labels"))


def test_width_and_depth_at_once():
    weights_map = km.WeightsMap.infer(bare.residual_series(1, 3), bare.residual_series(3, 5))
    assert weights_map.verdict.nesting == "exact"
    resnets = [build(bare.resnet(*size)) for build in (bare.named, lambda m: m) for size in ((1, (2, 3)), (3, (3, 5)))]
    maps = [km.WeightsMap.infer(*pair, check=False) for pair in (resnets[:2], resnets[2:])]
    assert positions(maps[0]) == positions(maps[1])


def test_heads_of_another_size_are_refused_with_that_reason():
    def net(depth, width):
        inputs = keras.Input((5, 3))
        x = layers.Dense(width)(inputs)
        for _ in range(depth):
            y = layers.LayerNormalization()(x)
            x = layers.Add()([x, layers.MultiHeadAttention(2, width // 2)(y, y)])
        return keras.Model(inputs, layers.Dense(2)(x))

    with pytest.raises(ValueError, match=r"key_dim=2 in the base and 4"):
        km.WeightsMap.infer(net(1, 4), net(2, 8))


def chosen(head, blocks, prefix=""):
    """Only some layers have names: the first dense one of each block, and perhaps the head."""
    inputs = keras.Input((4,))
    x = layers.Dense(4)(inputs)
    for i in range(blocks):
        y = layers.Dense(6, "relu", name=f"{prefix}{i}" if prefix else None)(x)
        x = layers.Add()([x, layers.Dense(4)(y)])
    return keras.Model(inputs, layers.Dense(2, name=head)(x))


def test_chosen_names_decide():
    assert km.WeightsMap.infer(chosen("head", 1), chosen("head", 3)).verdict.nesting == "exact"
    base, motivated = chosen(None, 1, "block"), chosen(None, 3, "block")
    motivated.layers[2].name, motivated.layers[8].name = "block2", "block0"  # the user calls the last block the first
    partners = {id(e.base): e.motivated for e in km.WeightsMap.infer(base, motivated).entries}
    assert partners[id(base.layers[2].bias)] is motivated.layers[8].bias
    assert partners[id(base.layers[3].bias)] is motivated.layers[9].bias
    with pytest.raises(ValueError, match="'body' with 2 weights has no partner of that name"):
        km.WeightsMap.infer(chosen("body", 1), chosen("head", 2))


def test_rename_decides():
    """What `rename` says of one layer settles the others of its block."""
    base, motivated = chosen(None, 1), chosen(None, 2)
    first, last = base.layers[2], motivated.layers[5]
    weights_map = km.WeightsMap.infer(base, motivated, rename=lambda name: last.name if name == first.name else name)
    partners = {id(e.base): e.motivated for e in weights_map.entries}
    assert partners[id(first.bias)] is last.bias
    assert partners[id(base.layers[3].bias)] is motivated.layers[6].bias


def residual(*activations, width=4):
    inputs = keras.Input((5,))
    x = layers.Dense(width)(inputs)
    for activation in activations:
        x = layers.Add()([x, layers.Dense(width, activation)(x)])
    return keras.Model(inputs, layers.Dense(2)(x))


def branches(count):
    inputs = keras.Input((5,))
    x = layers.Dense(4)(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.Add()([layers.Dense(4)(x) for _ in range(count)])))


def test_several_alignments_are_refused_with_the_candidates():
    base, motivated = residual("relu"), residual("relu", "gelu", "relu")
    ours, first, last = base.layers[2].name, motivated.layers[2].name, motivated.layers[6].name
    with pytest.raises(ValueError, match=f"'{ours}' may be '{first}' or '{last}'"):
        km.WeightsMap.infer(base, motivated)


@pytest.mark.parametrize(
    ("pair", "where"),
    [
        (lambda: [residual("relu"), residual("gelu", "gelu")], r"\(activation=relu\) and .* \(activation=gelu\)"),
        (lambda: [residual("relu", "relu"), residual("relu")], r"\(Add\) and .* \(Dense\)"),
        (lambda: [branches(2), branches(3)], r"\(Add\) and .* \(Dense\)"),
    ],
)
def test_without_an_alignment_the_place_is_named_where_it_ends(pair, where):
    with pytest.raises(ValueError, match=f"the two graphs agree from the outputs up to .*{where}"):
        km.WeightsMap.infer(*pair())


def test_one_of_two_kinds_of_blocks_is_found_anywhere():
    weights_map = km.WeightsMap.infer(residual("relu"), residual("gelu", "relu"))
    assert weights_map.verdict.nesting == "exact"
    assert positions(weights_map) == [(0, 0), (1, 1), (2, 4), (3, 5), (4, 6), (5, 7)]


def has_an_unknown_block(spec):
    """Whether a block is new that is no copy of one of the base: there it has only a block with a layer more.

    Only a connection around such a block, with nothing after it, shows that it can be left out.
    """
    return any(
        stage["counts"][0] == 1 < stage["counts"][1]
        and stage["special"] != "before"
        and stage["around"] in ("none", "norm", "relu")
        for stage in spec["stages"]
    )


def agrees_with_names(spec):
    named, found = [[Builder(spec, size, names).model() for size in (0, 1)] for names in (True, False)]
    expected = km.WeightsMap.infer(*named, check=False)
    try:
        weights_map = km.WeightsMap.infer(*found, check=False)
    except ValueError as error:
        if has_an_unknown_block(spec) and "no whole block ends there that could be left out" in str(error):
            return
        raise
    assert positions(weights_map) == positions(expected)


@settings(max_examples=20, deadline=None)
@given(descriptions())
def test_random_loops_are_matched_as_names_match_them(spec):
    agrees_with_names(spec)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(descriptions())
def test_more_random_loops(spec):
    agrees_with_names(spec)
