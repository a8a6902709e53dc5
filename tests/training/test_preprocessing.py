"""Raw data in a pair of KerasHub tasks: the preprocessor runs as in the stock task's own `fit`."""

import keras
import numpy as np
import pytest
from helpers import Alternate, numpy

hub = pytest.importorskip("keras_hub").models

import keras_motivation as km  # noqa: E402

BACKEND = keras.backend.backend()
TOLERANCE = {"torch": 0.0, "jax": 1e-6, "tensorflow": 1e-6}[BACKEND]
WORDS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "the", "quick", "brown", "fox", "jumped", "over", "it", "."]


def bert(inner, words=WORDS, length=8):
    backbone = hub.BertBackbone(len(WORDS), 1, 2, 8, inner, max_sequence_length=8, dropout=0.0)
    tokenizer = hub.BertTokenizer(vocabulary=words)
    preprocessor = hub.BertTextClassifierPreprocessor(tokenizer, sequence_length=length)
    return hub.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor, dropout=0.0)


def sentences(count=16):
    rng = np.random.default_rng(0)
    return np.array([" ".join(rng.choice(WORDS[5:], 5)) for _ in range(count)]), rng.integers(0, 2, count)


def resnet(width):
    backbone = hub.ResNetBackbone([64], [7], [64, width], [1, 1], [1, 2], "basic_block", image_shape=(16, 16, 3))
    preprocessor = hub.ResNetImageClassifierPreprocessor(
        hub_layers().ResNetImageConverter(image_size=(16, 16), scale=1 / 255)
    )
    return hub.ResNetImageClassifier(backbone, num_classes=2, preprocessor=preprocessor)


def hub_layers():
    import keras_hub

    return keras_hub.layers


def pictures(count=16):
    """Larger than the model takes, with values up to 255."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 20, 20, 3)).astype("float32"), rng.integers(0, 2, count)


def gpt(inner):
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "Ġ": 3, "Ġa": 4, "Ġb": 5}
    tokenizer = hub.GPT2Tokenizer(vocabulary=vocabulary, merges=["Ġ a", "Ġ b"])
    preprocessor = hub.GPT2CausalLMPreprocessor(tokenizer, sequence_length=8)
    backbone = hub.GPT2Backbone(6, 1, 2, 8, inner, max_sequence_length=8, dropout=0.0)
    return hub.GPT2CausalLM(backbone, preprocessor=preprocessor)


def letters(count=16):
    """Text alone: the preprocessor makes the targets."""
    rng = np.random.default_rng(0)
    return np.array([" ".join(rng.choice(["a", "b"], 5)) for _ in range(count)]), None


CASES = {
    "text": (bert, (16, 24), sentences),
    "images": (resnet, (16, 24), pictures),
    "language": (gpt, (16, 24), letters),
}


def optimizer():
    return keras.optimizers.AdamW(1e-2, epsilon=1e-2)


def race(name, motivated, fit):
    """A stock task and a pair that start alike; gives the histories of a `fit`, and what came out."""
    build, sizes, data = CASES[name]
    keras.utils.set_random_seed(1)
    pair = km.MotivatedModel(build(sizes[0]), build(sizes[1]), extension="random")
    stock = build(sizes[motivated])
    for target, source in zip(stock.variables, pair.models[motivated].variables):
        target.assign(keras.ops.copy(source.value))
    stock.compile(optimizer())
    pair.compile(optimizer(), motivation="always" if motivated else "never")
    x, y = data()
    histories = []
    for model in (stock, pair):
        keras.utils.set_random_seed(2)
        histories.append(fit(model, x, y))
    return pair, stock, histories


FITS = {
    "arrays": lambda model, x, y: model.fit(
        x, y, batch_size=4, epochs=2, verbose=0, validation_data=None if y is None else (x, y)
    ),
    "lists": lambda model, x, y: model.fit(list(x), list(y), batch_size=4, epochs=2, verbose=0),
    "weights": lambda model, x, y: model.fit(x, y, batch_size=4, sample_weight=np.arange(16) / 8, verbose=0),
    "classes": lambda model, x, y: model.fit(
        x, y, batch_size=4, class_weight={0: 1.0, 1: 3.0}, validation_split=0.25, verbose=0
    ),
}


@pytest.mark.parametrize("motivated", [False, True])
@pytest.mark.parametrize(
    ("name", "how"), [*(("text", how) for how in FITS), ("images", "arrays"), ("language", "arrays")]
)
def test_raw_data_in_fit(name, how, motivated):
    pair, stock, histories = race(name, motivated, FITS[how])
    expected, found = (history.history for history in histories)
    for key, series in expected.items():
        key = key.replace("val_", "val_motivated_") if motivated else key
        np.testing.assert_allclose(found[key], series, rtol=TOLERANCE, err_msg=key)
    for mine, theirs in zip(pair.models[motivated].variables, stock.variables):
        np.testing.assert_allclose(numpy(mine), numpy(theirs), rtol=10 * TOLERANCE, atol=TOLERANCE, err_msg=mine.path)


@pytest.mark.parametrize("name", ["text", "images"])
def test_raw_data_in_the_other_methods(name):
    pair, stock, _ = race(name, False, FITS["arrays"])
    x, y = CASES[name][2]()
    near = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(pair.evaluate(x, y, verbose=0), stock.evaluate(x, y, verbose=0), **near)
    np.testing.assert_allclose(pair.predict(x, verbose=0), stock.predict(x, verbose=0), **near)
    np.testing.assert_allclose(pair.predict_on_batch(x[:4]), stock.predict_on_batch(x[:4]), **near)
    np.testing.assert_allclose(pair.test_on_batch(x[:4], y[:4]), stock.test_on_batch(x[:4], y[:4]), **near)
    np.testing.assert_allclose(pair.train_on_batch(x[:4], y[:4]), stock.train_on_batch(x[:4], y[:4]), **near)
    for mine, theirs in zip(pair.base.variables, stock.variables):
        np.testing.assert_allclose(numpy(mine), numpy(theirs), rtol=1e-4, atol=1e-5, err_msg=mine.path)


def test_data_sets_of_tensorflow():
    tf = pytest.importorskip("tensorflow")

    def fit(model, x, y):
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
        return model.fit(data, epochs=2, verbose=0, validation_data=data)

    _, _, (expected, found) = race("text", False, fit)
    for key, series in expected.history.items():
        np.testing.assert_allclose(found.history[key], series, rtol=TOLERANCE, err_msg=key)


class Batches(keras.utils.PyDataset):
    def __init__(self, model):
        super().__init__()
        x, self.y = sentences()
        self.x = model.preprocessor(x)

    def __len__(self):
        return 4

    def __getitem__(self, i):
        part = slice(4 * i, 4 * i + 4)
        return {name: np.asarray(values)[part] for name, values in self.x.items()}, self.y[part]


def test_batches_that_are_preprocessed_already():
    """KerasHub's own `fit` takes no `PyDataset`; without a preprocessor, a pair does."""
    pair = km.MotivatedModel(bert(16), bert(24))
    batches = Batches(pair.base)
    x, y = sentences()
    pair.compile("sgd", motivation=Alternate())
    expected = pair.evaluate(x, y, batch_size=4, verbose=0)
    pair.preprocessor = None
    assert all(model.preprocessor is None for model in pair.models)
    np.testing.assert_allclose(pair.evaluate(batches, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(pair.evaluate((batches[i] for i in range(4)), steps=4, verbose=0), expected, rtol=1e-5)
    if BACKEND == "torch":
        from torch.utils.data import DataLoader

        examples = [
            ({name: values[i] for name, values in x.items()}, y[i])
            for x, y in map(batches.__getitem__, range(4))
            for i in range(4)
        ]
        loader = DataLoader(examples, batch_size=4)
        np.testing.assert_allclose(pair.evaluate(loader, verbose=0), expected, rtol=1e-5)


def test_a_pair_without_tasks_has_no_preprocessor():
    pair = km.MotivatedModel(bert(16).backbone, bert(24).backbone)
    assert not hasattr(pair, "preprocessor")
    with pytest.raises(AttributeError, match="take no preprocessor"):
        pair.preprocessor = None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: bert(24, length=7), "must have the same preprocessor.*another BertTextClassifierPreprocessor"),
        (lambda: bert(24, words=[*WORDS[:-1], "dog"]), "must have the same preprocessor.*another Bert"),
        (lambda: hub.BertTextClassifier(bert(24).backbone, num_classes=2), "same preprocessor.*none in the other"),
    ],
)
def test_different_preprocessors_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        km.MotivatedModel(bert(16), other())


@pytest.mark.filterwarnings("ignore:.compile... was not called as part of model loading:UserWarning")  # a task alone
def test_a_pair_goes_on_from_its_file(tmp_path):
    x, y = sentences()
    pair = km.MotivatedModel(bert(16), bert(24), extension="random")
    pair.compile(optimizer(), motivation=Alternate())
    pair.fit(x, y, batch_size=4, verbose=0)
    pair.save(tmp_path / "pair.keras")
    pair.motivated.save(tmp_path / "motivated.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    histories = [model.fit(x, y, batch_size=4, epochs=2, verbose=0).history for model in (pair, loaded)]
    for name, series in histories[0].items():
        np.testing.assert_allclose(histories[1][name], series, rtol=1e-6, err_msg=name)
    alone = keras.models.load_model(tmp_path / "motivated.keras")
    assert alone.predict(x[:2], verbose=0).shape == (2, 2)
    assert alone.preprocessor.tokenizer.get_vocabulary() == WORDS


def test_statistics_are_computed_on_preprocessed_data():
    pair = km.MotivatedModel(resnet(16), resnet(24))
    x, _ = pictures()
    km.recalibrate_batch_norm(pair.base, [x[:8], x[8:]])
    raw = [np.array(numpy(v)) for v in pair.base.non_trainable_variables]
    other = resnet(16)
    for target, source in zip(other.variables, pair.base.variables):
        target.assign(keras.ops.copy(source.value))
    processed = np.asarray(keras.ops.convert_to_numpy(other.preprocessor(x)))
    other.preprocessor = None
    km.recalibrate_batch_norm(other, [processed[:8], processed[8:]])
    for found, expected in zip(raw, other.non_trainable_variables):
        np.testing.assert_allclose(found, numpy(expected), rtol=1e-5, atol=1e-6)
