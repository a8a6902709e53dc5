"""Both models after training, in the forms that one deploys: exported, quantized, and from KerasHub's presets."""

import importlib.util

import keras
import numpy as np
import pytest
from helpers import assert_same_weights, compiled, crossentropy, fit, numpy, values, vectors

import keras_motivation as km

BACKEND = keras.backend.backend()
MODELS = ("base", "motivated")


@pytest.fixture(scope="module")
def model():
    """A fitted pair, the same for all tests: to deploy it must not change it."""
    model = compiled()
    fit(model)
    return model


def state(model):
    return [numpy(v) for v in [*model.variables, *model.optimizer.variables]]


def run_saved_model(path, x):
    tf = pytest.importorskip("tensorflow")
    loaded = tf.saved_model.load(path)  # in a variable: it owns the weights that `serve` reads
    return np.asarray(loaded.serve(x))


def run_onnx(path, x):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def run_litert(path, x):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(path)
    [given], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(result["index"])


def run_torch(path, x):
    torch = pytest.importorskip("torch")
    return torch.export.load(path).module()(torch.from_numpy(x)).detach().numpy()


RUN = {"tf_saved_model": run_saved_model, "onnx": run_onnx, "litert": run_litert, "torch": run_torch}
ENDING = {"tf_saved_model": "", "onnx": ".onnx", "litert": ".tflite", "torch": ".pt2"}
WRITES = {  # the formats that Keras writes under this backend, and the package that it needs for it
    "tensorflow": {"tf_saved_model": "tensorflow", "onnx": "tf2onnx", "litert": "tensorflow"},
    "jax": {"tf_saved_model": "tensorflow"},
    "torch": {"onnx": "onnx", "torch": "torch"},
}[BACKEND]
REFUSES = {  # the others: error, message, and the package that, once installed, may change it
    "tensorflow": {"torch": (ValueError, "Torch export requires PyTorch backend", None)},
    "jax": {
        "onnx": (ImportError, "requires the jax2onnx module", "jax2onnx"),
        "litert": (ValueError, "LiteRT export requires TensorFlow or PyTorch backend", None),
        "torch": (ValueError, "Torch export requires PyTorch backend", None),
    },
    "torch": {
        # Not a clear error: a bug of Keras 3.15.1, which asks PyTorch for dynamic shapes in a wrong structure.
        "tf_saved_model": (Exception, "Detected mismatch between the structure of `inputs`", "torch_xla"),
        "litert": (ImportError, "must install the `litert-torch` package", "litert_torch"),
    },
}[BACKEND]


def free_batch_size(format):
    """What it takes to have the batch size free in the exported file; in most formats it is."""
    if format != "torch":
        return {}
    torch = pytest.importorskip("torch")
    return {"dynamic_shapes": {0: torch.export.Dim("batch")}}


# PyTorch's tracer, about sizes that it takes for constants: not the batch size, which the test varies.
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python integer")
@pytest.mark.parametrize("which", MODELS)
@pytest.mark.parametrize("format", WRITES)
def test_an_exported_model_computes_the_same(model, format, which, tmp_path):
    pytest.importorskip(WRITES[format])
    x, _ = vectors()
    path = str(tmp_path / f"{which}{ENDING[format]}")
    expected = getattr(model, which).predict(x, verbose=0)
    getattr(model, which).export(path, format=format, verbose=False, **free_batch_size(format))
    for batch in (x, x[:3]):
        np.testing.assert_allclose(RUN[format](path, batch), expected[: len(batch)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("format", REFUSES)
def test_a_format_that_the_backend_cannot_write_is_refused(model, format, tmp_path):
    error, message, package = REFUSES[format]
    if package and importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(error, match=message):
        model.motivated.export(str(tmp_path / f"model{ENDING[format]}"), format=format, verbose=False)


def quantizable(layer):
    return isinstance(layer, (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding))


def int8_copy(path):
    copy = keras.models.load_model(path, compile=False)
    copy.quantize("int8", filters=quantizable)
    return copy


@pytest.mark.parametrize("which", MODELS)
def test_an_int8_copy_computes_nearly_the_same(model, which, tmp_path):
    """Kernels and activations are rounded to 8 bits: errors of up to 1/254 of the largest value in each."""
    x, _ = vectors()
    original = getattr(model, which)
    original.save(tmp_path / "model.keras")
    copy = int8_copy(tmp_path / "model.keras")
    dense = [layer for layer in copy.layers if quantizable(layer)]
    assert {keras.backend.standardize_dtype(layer._kernel.dtype) for layer in dense} == {"int8"}
    expected, actual = original.predict(x, verbose=0), copy.predict(x, verbose=0)
    assert 0 < np.abs(actual - expected).max() < 2 * len(dense) / 254 * np.abs(expected).max()
    copy.save(tmp_path / "int8.keras")
    again = keras.models.load_model(tmp_path / "int8.keras", compile=False)
    np.testing.assert_allclose(again.predict(x, verbose=0), actual, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python integer")
def test_deploying_leaves_the_pair_as_it_was(model, tmp_path):
    """Equal state, the optimizer's too, is what further training depends on; and it goes on."""
    format = next(format for format in WRITES if format != "onnx")
    before = state(model)
    for which in MODELS:
        getattr(model, which).save(tmp_path / "model.keras")
        int8_copy(tmp_path / "model.keras")
        getattr(model, which).export(str(tmp_path / f"{which}{ENDING[format]}"), format=format, verbose=False)
    for actual, expected in zip(state(model), before):
        np.testing.assert_array_equal(actual, expected)
    fit(model)
    assert any(not np.array_equal(a, b) for a, b in zip(state(model), before))


def test_a_pair_quantized_in_place_is_refused():
    """`quantize` gives a model other variables, and the pair would go on with those that are nobody's."""
    for which in MODELS:
        model = compiled()
        getattr(model, which).quantize("int8", filters=quantizable)
        for use in (fit, lambda model: model.compile("sgd", "mse")):
            with pytest.raises(RuntimeError, match=f"The {which} model .* other variables .* quantize the loaded copy"):
                use(model)
    with pytest.raises(NotImplementedError, match="quantize the loaded models"):
        compiled().quantize("int8")


@pytest.fixture
def vit():
    """A vision transformer by number of heads and blocks."""
    hub = pytest.importorskip("keras_hub")

    def vit(heads, num_layers):
        backbone = hub.models.ViTBackbone(
            (4, 4, 1), patch_size=2, num_heads=heads, hidden_dim=4 * heads, mlp_dim=8 * heads, num_layers=num_layers
        )
        return hub.models.ViTImageClassifier(backbone, num_classes=3)

    return vit


def test_a_pair_from_a_preset_is_finetuned_and_saved_as_presets(vit, tmp_path):
    hub = pytest.importorskip("keras_hub")
    x = np.random.default_rng(0).uniform(size=(32, 4, 4, 1)).astype("float32")
    y = np.arange(32) % 3
    pretrained = vit(heads=3, num_layers=2)
    pretrained.save_to_preset(str(tmp_path / "pretrained"))

    motivated = hub.models.ViTImageClassifier.from_preset(str(tmp_path / "pretrained"))
    motivated.preprocessor = None  # the preset has one, and the base has none
    model = km.MotivatedModel(vit(heads=2, num_layers=1), motivated, initialize="motivated")
    assert_same_weights(model.motivated, pretrained, rtol=0, atol=0)
    for entry in model.weights_map.entries:
        prefix = tuple(slice(0, n) for n in entry.base.shape)
        np.testing.assert_array_equal(numpy(entry.base), numpy(entry.motivated)[prefix])

    before = [values(getattr(model, which)) for which in MODELS]
    jit = BACKEND == "jax"  # elsewhere XLA takes longer than these few batches
    model.compile("sgd", crossentropy(), motivation="always", jit_compile=jit)
    model.fit(x, y, batch_size=8, verbose=0)
    for which, start in zip(MODELS, before):
        tuned = getattr(model, which)
        assert any(not np.array_equal(a, b) for a, b in zip(values(tuned), start))
        tuned.save_to_preset(str(tmp_path / which))
        again = hub.models.ViTImageClassifier.from_preset(str(tmp_path / which))
        assert_same_weights(again, tuned, rtol=0, atol=0)
