"""The chart of the README shows what the committed runs gave."""

import importlib
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# A row of docs/results.md: name there, and the cells that the chart repeats.
ROWS = {"late joint": r"k=1, from 33% on, joint", "default": r"k=2"}


@pytest.fixture
def chart(monkeypatch):
    """The script, imported as the command line runs it."""
    pytest.importorskip("scipy")
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    yield importlib.import_module("chart")
    for name in ("chart", "image_settings", "image_statistics"):
        sys.modules.pop(name, None)


def test_the_committed_chart_is_what_the_script_draws(chart):
    assert chart.CHART.read_text() == chart.draw(chart.read(chart.LINES))


def test_the_chart_and_the_tables_agree(chart):
    page = (ROOT / "docs/results.md").read_text()
    table = page.split("6 epochs, rate 0.4 after 17% warm-up")[1].split("As trained")[0]
    told = re.search(r'aria-label="(.*?)"', chart.CHART.read_text())[1]
    for name, row in ROWS.items():
        line = next(line for line in table.splitlines() if line.startswith(f"| {row} |"))
        _, _, _, _, _, base, _, motivated, flops, *_ = (cell.strip() for cell in line.split("|"))
        assert f"{name}: FLOPs {flops}" in told
        assert f"{name}, base: {base} points" in told
        assert f"{name}, motivated: {motivated} points" in told


def test_another_result_makes_another_chart(chart):
    lines = chart.read(chart.LINES)
    for line in lines:
        line["cost_to_motivated"] *= 2
    assert chart.draw(lines) != chart.CHART.read_text()
