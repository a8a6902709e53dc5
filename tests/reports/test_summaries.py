"""`MotivatedModel.summary`: what a user reads of the pair before training."""

import keras
from helpers import resnet
from keras import layers

import keras_motivation as km


def summary(model):
    found = []
    model.summary(print_fn=found.append)
    assert all(len(line) <= 80 for line in found)
    return found


def row(found, name):
    return next(line.split(None, 1)[1] for line in found if line.split() and line.split()[0] == name)


def staged(width, blocks):
    """Layers named as keras.applications names EfficientNet's (`block1a_conv`) and ResNet's (`conv2_block1_conv`)."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 3, padding="same", name="stem_conv")(inputs)
    for i in range(blocks):
        x = layers.Add()([x, layers.Conv2D(width, 1, name=f"block1{'abc'[i]}_project_conv")(x)])
    for i in range(blocks):
        x = layers.Add()([x, layers.Conv2D(width, 1, name=f"conv2_block{i + 1}_1_conv")(x)])
    return keras.Model(inputs, layers.Dense(3, name="top")(layers.GlobalAveragePooling2D()(x)), name=f"net{width}")


def test_sizes_growth_and_policies():
    model = km.MotivatedModel(staged(4, 1), staged(6, 3), name="pair")
    found = summary(model)
    text = "\n".join(found)
    assert found[0] == 'Model: "pair" (MotivatedModel)'
    assert row(found, "base").split() == ["net4", "167", "parameters"]
    assert row(found, "motivated").split() == ["net6", f"{model.motivated.count_params()}", "parameters"]
    assert f"covers {100 * model.weights_map.covered_share:.1f} %" in text
    assert [row(found, key) for key in ("nesting", "extension", "statistics", "motivation")] == [
        "exact",
        "silent at the start",
        "private",
        "not compiled",
    ]
    assert row(found, "stem_conv").split() == ["1", "4", "->", "6", "112", "->", "168"]
    assert row(found, "block1").split() == ["1", "->", "3", "4", "->", "6", "20", "->", "126"]
    assert row(found, "conv2").split() == ["1", "->", "3", "4", "->", "6", "20", "->", "126"]
    model.compile("sgd", "mse", motivation=km.LossStreak(k=3))
    assert row(summary(model), "motivation") == "LossStreak(k=3)"


def test_the_papers_setting():
    model = km.MotivatedModel(resnet(4, 1), resnet(4, 1), extension="random", statistics="shared")
    found = summary(model)
    assert row(found, "extension") == "random at the start"
    assert row(found, "statistics") == "shared"
    assert "->" not in "".join(found)


def test_a_new_stage_long_names_and_unnamed_layers():
    def net(extra):
        inputs = keras.Input((4, 4, 3))
        x = layers.Conv2D(3, 1)(inputs)
        if extra:
            x = layers.Add()([x, layers.Conv2D(3, 1, name="an_additional_stage_with_quite_a_long_name")(x)])
        return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))

    found = summary(km.MotivatedModel(net(False), net(True)))
    assert row(found, "...ith_quite_a_long_name").startswith("new: 1")
    assert row(found, "conv2d").split()[:2] == ["1", "3"]


def test_prints_by_default(capsys):
    km.MotivatedModel(resnet(4, 1), resnet(6, 2)).summary()
    assert "stage" in capsys.readouterr().out


def test_many_stages_are_cut():
    def net(width):
        inputs = keras.Input((4,))
        x = inputs
        for i in range(60):
            x = layers.Dense(width, name=f"{chr(97 + i // 26)}{chr(97 + i % 26)}")(x)
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    models = net(2), net(3)
    found = summary(km.MotivatedModel(*models, km.WeightsMap.infer(*models, check=False), extension="random"))
    assert "... and 21 more" in found[-1]
