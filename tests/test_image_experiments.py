"""The experiment scripts, from the command line's end: one run, the runner's plan, the report."""

import copy
import json
import pathlib
import sys

import keras
import numpy as np
import pytest
from scipy import stats

pytest.importorskip("sklearn")
EXAMPLES = str(pathlib.Path(__file__).parent.parent / "examples")
QUICK = ["--data", "digits", "--examples", "256", "--image-size", "4", "--epochs", "2", "--batch", "32", "--k", "1"]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in [name for name in sys.modules if name.startswith("image_")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A run by motivation, and the count-matched one that goes by it."""
    sys.path.insert(0, EXAMPLES)
    try:
        import image_classification

        output = tmp_path_factory.mktemp("runs") / "runs.jsonl"
        image_classification.main([*QUICK, "--output", str(output)])
        image_classification.main([*QUICK, "--output", str(output), "--arm", "count-matched", "--record", str(output)])
        image_classification.main([*QUICK, "--output", str(output), "--arm", "base"])
        return [json.loads(line) for line in output.read_text().splitlines()]
    finally:
        sys.path.remove(EXAMPLES)


@pytest.mark.slow
def test_a_run_tells_all(lines):
    motivation, matched, base = lines
    assert motivation["settings"]["data"] == "digits"
    assert motivation["settings"]["seed"] == 0
    assert 0 < motivation["share"] == matched["share"] < 1
    assert motivation["motivated_batches"] != matched["motivated_batches"]
    small, large = motivation["forward_flops"]
    share = motivation["share"]
    assert motivation["cost_to_motivated"] == pytest.approx(((1 - share) * small + share * large) / large)
    assert base["cost_to_motivated"] == pytest.approx(small / large)
    for line in lines:
        assert line["backend"] == keras.backend.backend()
        assert set(line["versions"]) == {"keras", "keras_motivation", line["backend"], "numpy"}
        models = {"base"} if line is base else {"base", "motivated"}
        for name in ("accuracy", "accuracy_recalibrated"):
            assert set(line[name]) == models
            assert all(0 <= value <= 1 for value in line[name].values())


def test_an_unknown_pair_is_refused():
    import image_classification

    with pytest.raises(ValueError, match=r"`pair` must be one of resnet-8/14, .*Received: resnet-8/15"):
        image_classification.main([*QUICK, "--pair", "resnet-8/15"])


def test_the_plan_has_each_arm_once_and_those_to_go_by_first():
    import image_settings
    import image_sweep

    seen = []
    for batch in image_sweep.runs(["paper", "remedies", "candidates"], range(2), ["--epochs", "1"]):
        for arguments in batch:
            options = image_settings.parse(arguments)
            if options.arm in ("random", "count-matched") and options.share is None:
                wanted = image_settings.settings({**vars(options), "arm": "motivation"})
                assert wanted in seen
            seen.append(image_settings.settings(vars(options)))
    arms = {json.dumps(settings) for settings in seen}
    assert len([settings for settings in seen if settings["seed"] == 0]) == len(seen) / 2
    for k in (1, 2, 3):
        for statistics in ("private", "shared"):
            assert any(s["k"] == k and s["statistics"] == statistics and s["arm"] == "motivation" for s in seen)
    assert {s["arm"] for s in seen} == set(image_settings.ARMS)
    assert len(arms) == 2 * 28


@pytest.mark.slow
def test_the_runner_skips_what_is_done(lines, tmp_path, monkeypatch):
    import image_sweep

    output = tmp_path / "runs.jsonl"
    output.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setitem(image_sweep.GROUPS, "paper", [[], ["--arm", "base"]])
    monkeypatch.setattr(sys, "argv", ["image_sweep.py", "--output", str(output), "--seeds", "1", "--", *QUICK])
    monkeypatch.setattr(image_sweep.subprocess, "run", lambda *args, **kwargs: pytest.fail("ran again"))
    image_sweep.main()
    assert len(output.read_text().splitlines()) == 3


def test_the_report(tmp_path):
    """Paired differences against scipy's own paired test; page marks; too few seeds."""
    import image_report
    import image_settings

    rng = np.random.default_rng(0)
    template = {
        "settings": image_settings.settings({"epochs": 3}),
        **{"share": 0.2, "cost_to_motivated": 0.6, "fit_seconds": 3.0, "backend": "jax", "device": "cpu"},
        "versions": {"jax": "0.0"},
    }
    accuracies = rng.uniform(0.5, 0.6, (2, 4))
    lines = []
    for arm, values in zip(("base", "motivation"), accuracies):
        for seed, value in enumerate(values):
            line = copy.deepcopy(template)
            line["settings"] |= {"arm": arm, "seed": seed}
            line["accuracy"] = line["accuracy_recalibrated"] = {"base": value}
            lines.append(line)
    interval = stats.ttest_rel(accuracies[1], accuracies[0]).confidence_interval(0.95)
    text = image_report.report(lines)
    middle, half = 50 * (interval.high + interval.low), 50 * (interval.high - interval.low)
    row = next(row for row in text.splitlines() if row.startswith("| k=2 "))
    assert f"| {middle:+.2f} ± {half:.2f} |" in row
    assert "| 4 (too few) | 20% |" in row
    assert "| open |" in text

    files = tmp_path / "runs.jsonl", tmp_path / "page.md"
    for line in lines:
        del line["settings"]["since"]  # as lines are from before there was this setting
    files[0].write_text("".join(json.dumps(line) + "\n" for line in lines))
    files[1].write_text("before\n<!-- tables -->\nold\n<!-- end of tables -->\nafter\n")
    image_report.main([str(files[0]), "--page", str(files[1])])
    page = files[1].read_text()
    assert text in page
    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    files[1].write_text("no marks")
    with pytest.raises(ValueError, match="must have the marks"):
        image_report.main([str(files[0]), "--page", str(files[1])])


def test_images_are_averaged_down(tmp_path):
    import image_data

    x = np.arange(2 * 4 * 4).reshape(2, 4, 4, 1)
    np.testing.assert_array_equal(image_data.smaller(x, 2)[0, 0, 0], x[0, :2, :2].mean())
    with pytest.raises(ValueError, match=r"`image_size` must divide the images' side, 4\. Received: 3"):
        image_data.smaller(x, 3)
    arrays = {"x_train": x, "y_train": np.array([[1], [0]]), "x_test": x, "y_test": np.array([[1], [1]])}
    np.savez(tmp_path / "data.npz", **arrays)
    x_train, y_train, x_test, y_test = image_data.load(str(tmp_path / "data.npz"), examples=1)
    assert (x_train.shape, y_train.shape, x_test.shape, y_test.shape) == ((1, 4, 4, 1), (1,), (2, 4, 4, 1), (2,))


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="examples run under one backend each; this one compiles for most of a minute under JAX",
)
def test_transfer(tmp_path, monkeypatch, capsys):
    import transfer

    transfer.main(["--epochs", "1", "--output", str(tmp_path)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if ", trained" in line or ", random" in line]
    assert [row[0] for row in rows] == ["base,", "base,", "motivated,", "motivated,"]
    assert all(0 <= float(value) <= 1 for row in rows for value in row[2:4])
    assert keras.models.load_model(tmp_path / "motivated.keras").count_params() > 1000


def test_augmentation_keeps_the_step_compiled():
    """Keras takes one augmenting layer for unfit for XLA and then, under JAX, runs every operation by itself."""
    from image_models import PAIRS

    model = PAIRS["resnet-8/14"][0]((8, 8, 3), 10, flip=True)
    model.compile("sgd", "mse")
    assert model.jit_compile == (keras.backend.backend() == "jax")
    assert {layer.name for layer in model.layers} >= {"shift", "mirror"}
    plain = PAIRS["resnet-8/14"][0]((8, 8, 3), 10, flip=None)
    assert not {layer.name for layer in plain.layers} & {"shift", "mirror"}
