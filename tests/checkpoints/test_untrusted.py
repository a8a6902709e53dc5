"""Loading a pair runs no code from the file, wherever in the file the code is."""

import base64
import io
import json
import marshal
import os
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
from helpers import compiled, crossentropy, mlp

import keras_motivation as km


class Executed:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of a harmless file of a compiled pair."""
    path = tmp_path_factory.mktemp("harmless") / "pair.keras"
    compiled("loss_streak").save(path)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A folder that exists once code has been run. Importing the module `hostile` runs code too."""
    (tmp_path / "hostile.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'executed')!r})\nThing = dict\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "executed"
    assert not (tmp_path / "executed").exists()


def load(folder, members, **kwargs):
    with zipfile.ZipFile(folder / "hostile.keras", "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return keras.saving.load_model(folder / "hostile.keras", **kwargs)


def with_config(members, *keys, value):
    """The members with one field of the config replaced."""
    config = json.loads(members["config.json"])
    inner = config
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]]
    if "inbound_nodes" in inner[keys[-1]]:  # a layer in a graph
        value = {**{key: inner[keys[-1]][key] for key in ("name", "inbound_nodes")}, **value}
    inner[keys[-1]] = value
    return {**members, "config.json": json.dumps(config)}


def payloads(trap):
    """What a config can hold in order to have code run, by kind."""
    code = compile(f"lambda *a, **k: __import__('os').mkdir({str(trap)!r})", "", "eval").co_consts[0]
    lambda_value = {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None, "closure": None}
    config = {"name": str(trap), "path": str(trap)}
    pickled = base64.b64encode(pickle.dumps(Executed(trap))).decode()
    return {
        "function of os": {"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "mkdir"},
        "class of os": {"module": "os", "class_name": "mkdir", "config": config, "registered_name": None},
        "subprocess": {
            "module": "subprocess",
            "class_name": "Popen",
            "config": {"args": ["mkdir", str(trap)]},
            "registered_name": None,
        },
        "eval": {
            "module": "builtins",
            "class_name": "eval",
            "config": {"source": f"__import__('os').mkdir({str(trap)!r})"},
            "registered_name": "eval",
        },
        "import": {"module": "hostile", "class_name": "Thing", "config": config, "registered_name": "Thing"},
        "lambda": {"class_name": "__lambda__", "config": {"value": lambda_value}},
        "Lambda layer": {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"name": "l", "function": {"class_name": "__lambda__", "config": lambda_value}},
            "registered_name": None,
            "build_config": {"input_shape": [None, 5]},
        },
        "torch pickle": {
            "module": "keras.layers",
            "class_name": "TorchModuleWrapper",
            "config": {"name": "t", "module": pickled},
            "registered_name": None,
        },
        "download": {
            "module": "keras.utils",
            "class_name": "get_file",
            "config": {"fname": str(trap), "origin": "file:///etc/hostname"},
            "registered_name": None,
        },
        "object array": {"class_name": "__numpy__", "config": {"value": [pickled], "dtype": "object"}},
    }


FIELDS = {
    "base": ("config", "base"),
    "a layer of the base": ("config", "base", "config", "layers", 1),
    "motivated": ("config", "motivated", 0),
    "weights_map": ("config", "weights_map", 0),
    "optimizer": ("compile_config", "optimizer"),
    "loss": ("compile_config", "loss"),
    "motivation": ("compile_config", "motivation"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_the_config_runs_code(field, tmp_path, members, trap):
    for kind, payload in payloads(trap).items():
        hostile = with_config(members, *FIELDS[field], value=payload)
        try:
            model = load(tmp_path, hostile)
        except (TypeError, ValueError) as error:
            assert str(error), kind  # noqa: PT017 (which of them may load depends on the field)
        else:
            # Keras takes an unknown loss for a name, which fails at the first use.
            assert field == "loss", kind
            with pytest.raises((TypeError, ValueError)):
                model.fit(np.zeros((4, 5)), np.zeros(4), verbose=0)
        assert not trap.exists(), kind


def test_a_lambda_needs_the_users_word(tmp_path, trap):
    """Of the base, of the motivated model and of the condition's config; the same file loads when it is trusted."""
    marker = str(tmp_path / "trusted")
    function = eval(f"lambda x: (__import__('os').makedirs({marker!r}, exist_ok=True), x)[1]")

    def build(width):
        inner = keras.layers.Lambda(function)
        return keras.Sequential([keras.Input((5,)), keras.layers.Dense(width), inner, keras.layers.Dense(3)])

    pairs = {"base": (build(2), mlp(4, 0)), "motivated": (mlp(2, 0), build(4))}
    for role, (base, motivated) in pairs.items():
        kernels = [(b, m, None) for b, m in zip(base.weights, motivated.weights)]
        model = km.MotivatedModel(base, motivated, km.WeightsMap(base, motivated, kernels), extension="random")
        model.save(tmp_path / f"{role}.keras")
        os.rmdir(marker)
        with pytest.raises(ValueError, match=r"[Ll]ambda"):
            keras.saving.load_model(tmp_path / f"{role}.keras")
        with pytest.raises(ValueError, match=r"[Ll]ambda"):
            km.MotivatedModel.from_config(model.get_config())
        assert not os.path.exists(marker)
        keras.saving.load_model(tmp_path / f"{role}.keras", safe_mode=False)
        assert os.path.exists(marker)


def test_pickled_weights_are_refused(tmp_path, members, trap):
    buffer = io.BytesIO()
    np.savez(buffer, __root__=np.array([Executed(trap)], dtype=object))
    hostile = {name: content for name, content in members.items() if name != "model.weights.h5"}
    with pytest.raises(ValueError, match=r"pickle|could not be loaded"):
        load(tmp_path, {**hostile, "model.weights.npz": buffer.getvalue()})


def test_no_member_is_written_outside(tmp_path, members, trap):
    inside = tmp_path / "inside"
    inside.mkdir()
    hostile = {
        **members,
        "assets/../../../executed": b"",
        "../executed": b"",
        str(trap): b"",
        "..\\executed": b"",
    }
    before = set(os.listdir("/tmp"))
    with pytest.warns(UserWarning, match="Skipping invalid path"):
        load(inside, hostile)
    assert os.listdir(inside) == ["hostile.keras"]
    assert "executed" not in set(os.listdir("/tmp")) - before


def description(value):
    def replace(file):
        del file["vars/pair"]
        file["vars/pair"] = value

    return replace


def linked(file):
    del file["vars/pair"]
    file["vars/pair"] = h5py.ExternalLink("/etc/hostname", "/")


@pytest.mark.parametrize(
    "spoil",
    [
        linked,
        description(np.array([b"x"], dtype=object)),
        description(1.5),
        description(np.frombuffer(b"[" * 100_000, "uint8")),
        description(np.frombuffer(b'{"base": [[1]], "motivated": 7}', "uint8")),
    ],
    ids=["link", "object", "number", "nested", "nonsense"],
)
def test_the_description_of_the_pair_is_data(tmp_path, members, trap, spoil):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(members["model.weights.h5"])
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(ValueError, match=r"Not allowed|cannot be read"):
        load(tmp_path, {**members, "model.weights.h5": path.read_bytes()})


ENTRIES = [
    None,
    7,
    "entries",
    {},
    {"entries": None},
    {"entries": [[0, 0]]},
    {"entries": [["a", 0, None]]},
    {"entries": [[-1, 0, None]]},
    {"entries": [[10**9, 0, None]]},
    {"entries": [[0, 0.5, None]]},
    {"entries": [[0, 0, "ab"]]},
    {"entries": [[0, 0, [[0.5], [0]]]]},
    {"entries": [[0, 0, [[-1], [-1]]]]},
    {"entries": [[0, 0, [[[0]], [[1]]]]]},
    {"entries": [[0, 0, [[0], [10**30]]]]},
    {"entries": [[0, 0, [[0]]]]},
    {"entries": [[0, 0, None]] * 2},
    {"entries": []},
]


@pytest.fixture(scope="module")
def two_models():
    return mlp(4, 1), mlp(6, 2)


@pytest.mark.parametrize("config", ENTRIES, ids=str)
def test_a_weights_map_of_nonsense_is_refused(config, two_models):
    with pytest.raises(ValueError, match=r"config of a weights map must hold|do not map into"):
        km.WeightsMap.from_config(config, *two_models)


@pytest.mark.parametrize(
    ("key", "value"),
    [("statistics", ["private"]), ("statistics", "eval"), ("extension", 3), ("base", None), ("motivated", {"a": 1})],
    ids=str,
)
def test_a_config_of_nonsense_is_refused(key, value, tmp_path, members):
    with pytest.raises((TypeError, ValueError), match=f"Argument `{key}`"):
        load(tmp_path, with_config(members, "config", key, value=value))


def test_the_harmless_file_loads(tmp_path, members):
    """Else the tests above would show nothing."""
    model = load(tmp_path, members)
    assert model.motivation is not None
    model.fit(np.zeros((4, 5)), np.zeros(4), verbose=0)
    assert isinstance(model.loss, type(crossentropy()))
