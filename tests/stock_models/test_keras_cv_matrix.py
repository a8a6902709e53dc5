"""KerasCV's families, bare, against their part of a pair, as `test_stock_matrix.py` does for KerasHub."""

import pytest

pytest.importorskip("keras_cv")

from published import assert_as_published, published
from zoo import cv

CASES = {case.name: case for case in cv.CASES}
PUBLISHED = published("KerasCV")
pytestmark = [pytest.mark.cv, pytest.mark.matrix, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_the_page_says(name):
    assert_as_published(CASES[name], PUBLISHED[name])
