"""The benchmarks run and count what they say; what they measure is not tested."""

import json
import pathlib
import sys

import keras
import pytest

SCRIPTS = str(pathlib.Path(__file__).parents[1] / "benchmarks")


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setattr(sys, "path", [SCRIPTS, *sys.path])
    yield
    for name in [name for name in sys.modules if name in ("timing", "overhead") or name.startswith("image_")]:
        del sys.modules[name]


def test_subjects_take_turns():
    import timing

    calls = []
    found = timing.rounds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert [sorted(calls[i : i + 2]) for i in range(0, 10, 2)] == [["a", "b"]] * 5  # two rounds are not counted
    assert len(found) == 3
    assert all(seconds.keys() == {"a", "b"} and min(seconds.values()) >= 0 for seconds in found)
    assert timing.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}


def test_every_n_th_batch():
    import overhead

    condition = overhead.Every(3)
    assert [bool(condition.observe(1.0)) for _ in range(7)] == [False, True, False, False, True, False, False]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(condition))
    assert again.n == 3


@pytest.mark.slow
def test_overhead_against_the_stock_models(tmp_path, monkeypatch, capsys):
    import overhead

    def net(width):
        def build(shape, classes, flip):
            x = keras.layers.Dense(width, name="hidden")(keras.layers.Flatten()(inputs := keras.Input(shape)))
            return keras.Model(inputs, keras.layers.Dense(classes, name="head")(x))

        return build

    monkeypatch.setitem(overhead.PAIRS, "resnet-tiny", (net(2), net(4)))
    monkeypatch.setattr(overhead, "CONDITIONS", {"alternating": overhead.CONDITIONS["alternating"]})
    arguments = ["--pairs", "resnet-tiny", "--side", "4", "--batch", "2", "--steps", "2", "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", ["overhead.py", *arguments, "--output", str(tmp_path / "lines.jsonl")])
    overhead.main()
    (line,) = map(json.loads, (tmp_path / "lines.jsonl").read_text().splitlines())
    assert line["settings"] == {
        **{"pair": "resnet-tiny", "side": 4, "batch": 2, "steps": 2, "rounds": 2},
        **{"steps_per_execution": 1, "dispatch": "auto", "dtype": "float32"},
    }
    assert line["milliseconds_a_batch"].keys() == {"base", "motivated", "alternating"}
    assert line["ratio"]["alternating"]["median"] > 0
    assert line["backend"] == keras.backend.backend()
    assert "resnet-tiny | " in capsys.readouterr().out
