"""What docs/models.md says of the zoo's cases, and whether it is so.

`benchmarks/matrix.py` wrote both the page and the lines that are read here.
"""

import json
import pathlib

import keras
import pytest
from race import Race, StockError

BACKEND = keras.backend.backend()
RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks/results/matrix/torch.jsonl"  # where all cases are run
# The pair computes the same in the same order under PyTorch; the others' compilers may join operations otherwise.
TOLERANCE = {"torch": 0.0, "jax": 1e-5, "tensorflow": 1e-4}[BACKEND]


def published(library):
    """The lines of a library's cases, by case."""
    lines = map(json.loads, RESULTS.read_text().splitlines())
    return {line["case"].removeprefix(f"{library} "): line for line in lines if line["library"] == library}


def chosen(cases, lines):
    """All cases; where each is compiled several times over, one a family, the last that works: a task, if any."""
    if BACKEND == "torch":
        return list(cases)
    in_order = sorted(cases, key=lambda name: "always" in lines[name])
    return list({cases[name].family: name for name in in_order}.values())


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
    elif "crashed" in line:  # nothing that should be so
        pytest.xfail(f"published as a failure: {line['crashed']}")
    else:  # the base's step is the stock model's own: not compiled for each case
        assert_equals_stock(case, (False, True) if BACKEND == "torch" else (True,))
