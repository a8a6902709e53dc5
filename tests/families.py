"""What every pair of stock models must do: map, nest, train on both sides of a switch, and come back from disk."""

import keras
import numpy as np
from helpers import Alternate, values
from keras import layers

import keras_motivation as km


def with_head(backbone, classes=3):
    """A backbone of any library, nested as a layer, with the usual classifier on top."""
    features = backbone(backbone.input)
    if isinstance(features, dict):
        features = features["pooled_output"]
    if len(features.shape) == 4:
        features = layers.GlobalAveragePooling2D(name="pool")(features)
    elif len(features.shape) == 3:
        features = layers.GlobalAveragePooling1D(name="pool")(features)
    return keras.Model(backbone.input, layers.Dense(classes, dtype="float32", name="head")(features))


def pictures(side=32, count=12, classes=3):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, side, side, 3)).astype("float32"), rng.integers(0, classes, count)


def tokens(length=8, count=12, vocabulary=50):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, vocabulary, (count, length)).astype("int32")
    mask = (np.arange(length) < rng.integers(2, length + 1, (count, 1))).astype("int32")
    x = {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}
    return x, rng.integers(0, 3, count)


def assert_works(base, motivated, x, y, nesting, tmp_path, extension="silent", **kwargs):
    """The whole life of a pair. Both models take `(x, y)` and give 3 logits; `kwargs` are those of `compile`."""
    model = km.MotivatedModel(base, motivated)
    weights_map = model.weights_map
    mapped = {id(e.base) for e in weights_map.entries}
    constants = {id(v) for n in base._flatten_layers() if isinstance(n, layers.Normalization) for v in n.variables}
    assert [v.path for v in base.weights if id(v) not in mapped | constants] == []
    assert weights_map.verdict.nesting == nesting
    assert model.extension == extension

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, motivation=Alternate(), **kwargs)
    start = values(model.base), values(model.motivated)
    history = model.fit(x, y, batch_size=len(y) // 3, verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"]).all()
    np.testing.assert_allclose(history["motivated"], 1 / 3, rtol=1e-5)
    ends = values(model.base), values(model.motivated)
    assert all(any(not np.array_equal(a, b) for a, b in zip(*both)) for both in zip(start, ends))

    model.save(tmp_path / "pair.keras")
    model.base.save(tmp_path / "base.keras")
    model.motivated.save(tmp_path / "motivated.keras")
    pair = keras.models.load_model(tmp_path / "pair.keras")
    for name, expected in zip(("base", "motivated"), ends):
        for loaded in (getattr(pair, name), keras.models.load_model(tmp_path / f"{name}.keras")):
            for value, kept in zip(values(loaded), expected):
                np.testing.assert_array_equal(value, kept)
    return model


def attention_net(width, heads, depth=1):
    """A pre-norm transformer whose width, heads and depth can be extended."""
    inputs = keras.Input((6, 3))
    x = layers.Dense(width, name="embed")(inputs)
    for i in range(depth):
        y = layers.LayerNormalization(name=f"norm{i}")(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, 4, name=f"attention{i}")(y, y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
