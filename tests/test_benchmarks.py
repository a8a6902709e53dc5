"""The benchmarks run and count what they say; what they measure is not tested."""

import json
import pathlib
import sys

import keras
import numpy as np
import pytest

import keras_motivation as km
from keras_motivation.training.steps import DISPATCHES

SCRIPTS = str(pathlib.Path(__file__).parents[1] / "benchmarks")


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setattr(sys, "path", [SCRIPTS, *sys.path])
    yield
    for name in [
        name
        for name in sys.modules
        if name in ("family", "gaps", "inputs", "overhead", "pytorch_loops", "reporting", "startup", "tables", "timing")
        or name.startswith("image_")
    ]:
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


def test_tables_show_the_newest_lines_and_what_differs():
    import tables

    ratio = {"median": 1.0, "low": 0.9, "high": 1.1}
    line = {
        "benchmark": "b",
        "settings": {"pair": "x", "side": 8},
        "backend": "jax",
        "device": "cpu",
        "ratio": {"n": 2.0},
    }
    lines = [line, line | {"ratio": {"n": ratio}}, line | {"settings": {"pair": "y", "side": 8}, "images_a_second": 5}]
    assert tables.table(lines).splitlines() == [
        "| pair | backend | n (ratio) | images a second |",
        "| --- | --- | --- | --- |",
        "| x | jax | 1.0 (0.9-1.1) |  |",
        "| y | jax | 2.0 | 5 |",
    ]


@pytest.mark.slow
def test_overhead_against_the_stock_models(tmp_path, monkeypatch, capsys):
    import overhead

    def net(width):
        def build(shape, classes, flip):
            x = keras.layers.Dense(width, name="hidden")(keras.layers.Flatten()(inputs := keras.Input(shape)))
            return keras.Model(inputs, keras.layers.Dense(classes, name="head")(x))

        return build

    monkeypatch.setitem(overhead.PAIRS, "resnet-tiny", (net(2), net(4)))
    conditions = {name: overhead.CONDITIONS[name] for name in ("alternating", "one in six")}
    monkeypatch.setattr(overhead, "CONDITIONS", conditions)
    asked = []
    compile_pair = km.MotivatedModel.compile

    def noted(self, *args, **kwargs):
        asked.append((kwargs["dispatch"], kwargs["jit_compile"]))
        compile_pair(self, *args, **kwargs)

    monkeypatch.setattr(km.MotivatedModel, "compile", noted)
    arguments = ["--pairs", "resnet-tiny", "--side", "4", "--batch", "2", "--steps", "2", "--rounds", "2"]
    arguments += ["--dispatch", DISPATCHES[-1], "--jit", "off"]
    monkeypatch.setattr(sys, "argv", ["overhead.py", *arguments, "--output", str(tmp_path / "lines.jsonl")])
    overhead.main()
    (line,) = map(json.loads, (tmp_path / "lines.jsonl").read_text().splitlines())
    assert line["settings"] == {
        **{"pair": "resnet-tiny", "side": 4, "batch": 2, "steps": 2, "rounds": 2},
        **{"steps_per_execution": 1, "dispatch": DISPATCHES[-1], "jit": "off", "dtype": "float32"},
    }
    assert asked == [(DISPATCHES[-1], False)] * 2
    assert line["milliseconds_a_batch"].keys() == {"base", "motivated"}
    assert line["ratio"]["alternating"]["median"] > 0
    assert line["backend"] == keras.backend.backend()
    assert "resnet-tiny | " in capsys.readouterr().out


@pytest.mark.slow
def test_a_family_against_the_stock_models(tmp_path, monkeypatch, capsys):
    import family

    monkeypatch.setitem(family.FAMILIES, "depth", [(8, 2), (14, 2)])
    arguments = ["--families", "depth", "--side", "8", "--batch", "2", "--steps", "2", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["family.py", *arguments, "--output", str(tmp_path / "lines.jsonl")])
    family.main()
    (line,) = map(json.loads, (tmp_path / "lines.jsonl").read_text().splitlines())
    assert line["ratio"].keys() == {"level 0", "level 1"}
    assert line["ratio"]["level 1"]["median"] > 0
    assert capsys.readouterr().out.startswith("depth ")


def test_a_line_says_what_was_measured(tmp_path, monkeypatch):
    import reporting

    monkeypatch.setattr(sys, "argv", ["/some/where/overhead.py", "--output", "/else/where", "--batch", "8"])
    returned = reporting.report({"batch": 8}, {"ratio": 1.5}, tmp_path / "new" / "lines.jsonl")
    (line,) = map(json.loads, (tmp_path / "new" / "lines.jsonl").read_text().splitlines())
    assert line == returned
    expected = {"benchmark": "overhead", "settings": {"batch": 8}, "ratio": 1.5, "backend": keras.backend.backend()}
    assert line.items() >= {**expected, "command": "benchmarks/overhead.py --batch 8"}.items()
    assert reporting.report({}, {}, None)["versions"]["keras"] == keras.__version__


def test_start_up_figures_come_from_their_subjects(monkeypatch, capsys):
    import startup

    taken = {"import": 0.05, "first stock steps": 4.0, "first steps": 6.0, "construct": 2.0}
    monkeypatch.setattr(startup, "in_process", lambda subject: {"seconds": taken[subject]})
    figures = ["import_milliseconds", "first_steps_ratio", "construction_seconds"]
    monkeypatch.setattr(sys, "argv", ["startup.py", "--rounds", "2", "--figures", *figures])
    startup.main()
    printed = capsys.readouterr().out
    for name, value in zip(figures, (50.0, 1.5, 2.0)):
        assert f"{name}: {{'median': {value}" in printed


def test_what_fails_in_its_process_fails(monkeypatch):
    import startup

    monkeypatch.setattr(sys, "argv", ["startup.py", "--base", "NoSuchNet"])
    with pytest.raises(RuntimeError, match="NoSuchNet"):
        startup.in_process("construct")


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["construct", "first stock steps", "first steps", "stock epoch", "epoch"])
def test_subjects_of_the_start_run(subject, monkeypatch):
    import startup

    def models(options):
        return [
            keras.Sequential([keras.Input((2,)), keras.layers.Dense(n, "relu"), keras.layers.Dense(10, "softmax")])
            for n in (4, 8)
        ]

    def fit(model, batches, options, **kwargs):
        model.compile("adam", "sparse_categorical_crossentropy", **kwargs)
        model.fit(np.zeros((batches, 2)), np.zeros(batches), batch_size=1, verbose=0)

    monkeypatch.setattr(startup, "models", models)
    monkeypatch.setattr(startup, "fit", fit)
    found = startup.measured(subject, None)
    assert found["seconds"] > 0
    assert found["base"] == 3 * 4 * (2 * 4 + 4 + 4 * 10 + 10)  # weights and two slots of float32


def test_forms_of_data_hold_the_same_batches():
    import inputs

    x, y = np.arange(24.0, dtype="float32").reshape(6, 2, 2, 1), np.arange(6, dtype="int32")
    for name, (data, labels) in inputs.forms(x, y, 2).items():
        if labels is not None:
            data = [(data[i : i + 2], labels[i : i + 2]) for i in (0, 2, 4)]
        batches = [[keras.ops.convert_to_numpy(part) for part in batch] for batch in data]
        assert len(batches) == 3, name
        for i, (images, targets) in enumerate(batches):
            np.testing.assert_array_equal(images, x[2 * i : 2 * i + 2])
            np.testing.assert_array_equal(targets, y[2 * i : 2 * i + 2])


def test_forms_of_data_are_measured(tmp_path, monkeypatch, capsys):
    import inputs

    arguments = ["--side", "4", "--batch", "2", "--steps", "2", "--rounds", "1", "--output", str(tmp_path / "lines")]
    monkeypatch.setattr(sys, "argv", ["inputs.py", *arguments])
    inputs.main()
    line = json.loads((tmp_path / "lines").read_text())
    assert line["batches_a_second"].keys() >= {"NumPy arrays", "tensors", "PyDataset"}
    assert min(line["batches_a_second"].values()) > 0
    assert "PyDataset: " in capsys.readouterr().out


def test_hand_written_models_are_as_large_as_ours():
    pytest.importorskip("torch")
    import pytorch_loops

    for pair in ("resnet-8/14", "resnet-8/8-wide"):
        for theirs, make in zip(pytorch_loops.models(pair), pytorch_loops.PAIRS[pair]):
            ours = make((32, 32, 3), 10, flip=None)
            trained = sum(v.numpy().size if hasattr(v, "numpy") else v.size for v in ours.trainable_variables)
            assert sum(p.numel() for p in theirs.parameters()) == trained


def test_the_hand_written_procedure(monkeypatch):
    """The plain loop copies at each switch and motivates each sixth batch."""
    torch = pytest.importorskip("torch")
    import pytorch_loops

    small, large = torch.nn.Linear(2, 3), torch.nn.Linear(2, 4)
    before = large.weight[3].clone()
    with torch.no_grad():
        pytorch_loops.copy(small, large)
    assert torch.equal(large.weight[:3], small.weight)
    assert torch.equal(large.bias[:3], small.bias)
    assert torch.equal(large.weight[3], before)
    with torch.no_grad():
        large.weight.zero_()
        pytorch_loops.copy(large, small)
    assert not small.weight.any()

    copied = []
    monkeypatch.setattr(pytorch_loops, "copy", lambda source, target: copied.append((source, target)))
    monkeypatch.setattr(pytorch_loops, "DEVICE", "cpu")
    x, y = np.zeros((26, 8, 8, 3), "float32"), np.zeros(26, "int64")
    pytorch_loops.loop("resnet-8/14", x, y, 2, tuned=False, amp=False)()  # 13 batches; the 6th and the 12th
    (base, motivated), *_ = copied
    assert copied == [(base, motivated), (motivated, base)] * 2
    assert sum(p.numel() for p in base.parameters()) < sum(p.numel() for p in motivated.parameters())


def test_idle_time_is_what_no_kernel_covers():
    pytest.importorskip("torch")
    import gaps

    assert gaps.idle([(0.0, 1.0), (3.0, 4.0)]) == 0.5
    assert gaps.idle([(2.0, 4.0), (0.0, 3.0), (1.0, 2.0)]) == 0.0  # one on another
    assert gaps.idle([(0.0, 8.0), (1.0, 2.0), (9.0, 10.0)]) == pytest.approx(0.1)


def test_gaps_need_a_cuda_device(monkeypatch):
    torch = pytest.importorskip("torch")
    import gaps

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gaps.py"])
    with pytest.raises(SystemExit, match="CUDA device"):
        gaps.main()
