"""What docs/models.md says of the zoo's cases, and whether it is so.

`benchmarks/matrix.py` wrote both the page and the lines that are read here.
"""

import json
import pathlib

import keras
import pytest
from race import Race, StockError

BACKEND = keras.backend.backend()
RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks/results/matrix"
# The pair computes the same in the same order under PyTorch; the others' compilers may join operations otherwise.
TOLERANCE = {"torch": 0.0, "jax": 1e-5, "tensorflow": 1e-4}[BACKEND]
# Of any family under TensorFlow: 1e-7 after an epoch can become 0.007 of a channel after three, by a ReLU at its edge.
# Gradients that were lost made it 0.25 and more.
OF_ANY = {**dict.fromkeys(("torch", "jax"), TOLERANCE), "tensorflow": 0.02}[BACKEND]


def published(library, backend=BACKEND):
    """The lines of a library's cases under a backend, by case: all of them under PyTorch, some a family elsewhere."""
    lines = map(json.loads, (RESULTS / f"{backend}.jsonl").read_text().splitlines())
    return {line["case"].removeprefix(f"{library} "): line for line in lines if line["library"] == library}


def assert_equals_stock(case, kinds=(False, True), tolerance=TOLERANCE):
    race = Race(case)
    for motivated in kinds:
        outcome = race.run(motivated)
        assert outcome.deviation <= tolerance, f"{'always' if motivated else 'never'}: {outcome}"


def assert_as_published(case, line):
    if "refused" in line:
        with pytest.raises(ValueError, match=r"Received|do not map|must"):
            Race(case)
    elif "stock" in line:
        with pytest.raises(StockError):
            assert_equals_stock(case)
    else:  # the base's step is the stock model's own: not compiled for each case
        assert_equals_stock(case, (False, True) if BACKEND == "torch" else (True,), OF_ANY)
