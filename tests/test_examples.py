"""The examples run, two under each backend: all six under all three would take minutes.

EfficientNet is left out, for one epoch of it takes longer than all the others; the README's test trains that pair.
"""

import pathlib
import re
import runpy
import sys

import keras
import pytest

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLE = {"tensorflow": "vit", "jax": "resnet", "torch": "text"}[keras.backend.backend()]
# Of the two that train more than a base and a motivated model in turn: options of a short run, what is printed, files.
NUMBER = r"\d\.\d{3}"
LEVELS = {
    "language": (
        ["--batches", "10"],
        rf"^Validation loss \(nats\): base {NUMBER}, motivated {NUMBER}$",
        ("base", "motivated"),
    ),
    "family": (
        ["--epochs", "1"],
        rf"^Test accuracy: small {NUMBER}, medium {NUMBER}, large {NUMBER}$",
        ("small", "medium", "large"),
    ),
}
WITH_LEVELS = {"tensorflow": "family", "jax": "language", "torch": "language"}[keras.backend.backend()]


# Of `text`: a BERT normalises after its residual connections, so new layers change what it computes.
@pytest.mark.filterwarnings("ignore:The extension of .* cannot be silenced")
@pytest.mark.slow
def test_an_example_for_one_epoch(tmp_path, monkeypatch, capsys):
    pytest.importorskip("keras_hub")
    pytest.importorskip("sklearn")
    monkeypatch.setattr(sys, "argv", ["example", "--epochs", "1", "--output", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / f"{EXAMPLE}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(r"^Motivated batches: \d+%$", printed, flags=re.MULTILINE)
    assert re.search(r"^Test accuracy: base [01]\.\d{3}, motivated [01]\.\d{3}$", printed, flags=re.MULTILINE)
    for name in ("base", "motivated"):
        loaded = keras.models.load_model(tmp_path / f"{EXAMPLE}_{name}.keras", compile=False)
        assert loaded.count_params() > 1000


@pytest.mark.slow
def test_an_example_with_levels(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    arguments, results, names = LEVELS[WITH_LEVELS]
    monkeypatch.setattr(sys, "argv", ["example", *arguments, "--output", str(tmp_path)])
    script = runpy.run_path(str(ROOT / "examples" / f"{WITH_LEVELS}.py"), run_name="__main__")
    assert script["model"].extension == "silent"
    printed = capsys.readouterr().out
    assert re.search(r"^Cost: [01]\.\d\d of training the", printed, flags=re.MULTILINE)
    assert re.search(results, printed, flags=re.MULTILINE)
    for name in names:
        loaded = keras.models.load_model(tmp_path / f"{WITH_LEVELS}_{name}.keras", compile=False)
        assert loaded.count_params() > 1000
