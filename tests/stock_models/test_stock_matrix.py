"""Stock models as users bring them, bare, against their part of a pair: the same losses, metrics and weights.

Here the families that come first; behind the marker `matrix` all of the zoo's.
"""

import keras
import pytest

pytest.importorskip("keras_hub")

from published import assert_as_published, assert_equals_stock, published
from race import Race
from zoo import images, middle, multimodal, objectives, text

ZOO = (text, images, multimodal, middle, objectives)
CASES = {case.name: case for module in ZOO for case in module.CASES}
PUBLISHED = published("KerasHub")
FIRST = ["ViT ImageClassifier width", "ResNet ImageClassifier width", "GPT2 CausalLM width", "Bert MaskedLM depth"]
NEXT = [  # as usual, but too much to compile together with the first
    "Bert TextClassifier width",
    "Llama CausalLM width",
    "Llama, tied embeddings CausalLM width",
    "CLIP backbone depth",
    "GPT2 CausalLM middle layers and width",
    "Llama CausalLM middle layers and width",
]
# Of models whose extension cannot be silenced, which the page tells, and of KerasHub about its own layers.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("name", [*FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in NEXT)])
def test_first(name):
    assert_equals_stock(CASES[name])


@pytest.mark.matrix
@pytest.mark.parametrize("name", PUBLISHED)
def test_as_the_page_says(name):
    assert_as_published(CASES[name], PUBLISHED[name])


def test_the_page_has_all_cases():
    assert set(published("KerasHub", "torch")) == set(CASES)


def test_the_race_sees_a_deviation():
    """A pair that learns at another rate than the stock model comes out with a deviation, and where."""
    race = Race(CASES["GPT2 CausalLM width"], batches=1, epochs=1)
    fit = race.fit

    def fit_slower(model, *args, **kwargs):
        rate = {"optimizer": keras.optimizers.SGD(1e-3)} if model is race.pair else {}
        return fit(model, *args, **kwargs | rate)

    race.fit = fit_slower
    outcome = race.run(False)
    assert outcome.deviation > 1e-3
    assert "/" in outcome.where
