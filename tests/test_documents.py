"""Every example in docstrings, README and docs runs."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import keras
import numpy as np
import pytest

import keras_motivation as km

ROOT = pathlib.Path(__file__).parent.parent
MODULES = [
    name
    for _, name, package in pkgutil.walk_packages(km.__path__, "keras_motivation.")
    if package or not {"backend", "steps", "flop_counters"} & set(name.split("."))  # of a backend that is not active
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("module", ["keras_motivation", *MODULES])
def test_docstring_examples(module):
    results = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


def test_the_public_names_have_runnable_examples():
    without = [
        n
        for n in km.__all__
        if n not in ("conditions", "plots", "Entry") and ">>>" not in (getattr(km, n).__doc__ or "")
    ]
    assert without == []


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks(page, tmp_path, monkeypatch):
    """The blocks of a page run one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    names = {"__name__": f"page_{page.stem}"}
    if page.name == "deploy.md":
        exporter = {"tensorflow": "tf2onnx", "jax": "tensorflow", "torch": "onnx"}[keras.backend.backend()]
        for package in ("keras_hub", exporter):
            pytest.importorskip(package)
    if page.name == "tasks.md":
        pytest.importorskip("keras_hub")
    if page.name == "README.md":
        if keras.backend.backend() != "torch":
            # A net of a fifth of the layers spares a minute of tracing and compiling; PyTorch runs the page as it is.
            blocks = [re.sub(r"EfficientNetB\d", "MobileNet", block) for block in blocks]
        rng = np.random.default_rng(0)
        batch = rng.uniform(0, 255, (4, 64, 64, 3)).astype("float32"), rng.integers(0, 100, 4)
        blocks = [block.replace("fit(train, validation_data=val, epochs=30)", "fit(*data)") for block in blocks]
        names["data"] = batch
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    if page.name == "README.md":
        for name in ("base", "motivated"):
            assert keras.models.load_model(tmp_path / f"{name}.keras").count_params() > 3e6


@pytest.mark.slow
def test_the_quickstart(tmp_path, capsys):
    """The script itself, for two epochs."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    specification = importlib.util.spec_from_file_location("quickstart", ROOT / "examples" / "quickstart.py")
    quickstart = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(quickstart)
    quickstart.main(["--epochs", "2", "--k", "1", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    for row in ("base, of the pair", "motivated, of the pair", "base alone", "motivated alone"):
        assert re.search(rf"^{row} +[\d,]+ +[01]\.\d{{4}}", printed, flags=re.MULTILINE), row
    assert re.search(r"^\d+\.\d% of the batches were motivated", printed, flags=re.MULTILINE)
    assert (tmp_path / "motivation.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    for name in ("base", "motivated"):
        assert keras.models.load_model(tmp_path / f"{name}.keras").output_shape == (None, 10)
