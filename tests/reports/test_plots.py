"""The pictures show what was recorded; how they look is looked at."""

import keras
import numpy as np
import pytest
from helpers import compiled, crossentropy, fit, mlp, vectors

import keras_motivation as km
from keras_motivation.reports.plots import spans

plt = pytest.importorskip("matplotlib.pyplot")
FLAGS = [False, True, True, False, False, False, True, False]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def run():
    model, record = compiled(km.Schedule(FLAGS * 3), metrics=["accuracy"]), km.MotivationHistory()
    history = fit(model, epochs=3, callbacks=[record], validation_data=vectors()).history
    return model, record, history


def test_losses_with_motivated_spans(run):
    _, record, _ = run
    ax = km.plots.plot_losses(record)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), record.losses)
    np.testing.assert_allclose(ax.lines[1].get_ydata()[0], record.losses[:5].mean(), rtol=1e-5)
    assert [(p.get_x() + 0.5, p.get_x() + p.get_width() + 0.5) for p in ax.patches] == spans(record.motivated)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch", "training loss")
    assert "motivated (38%)" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_spans():
    assert spans(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert spans(np.array([False])) == spans(np.array([], bool)) == []


def test_share_by_epoch(run):
    ax = plt.figure().add_subplot()
    assert km.plots.plot_share(run[1], ax=ax) is ax
    assert [bar.get_height() for bar in ax.patches] == [37.5] * 3


def test_accuracy_against_cost(run):
    model, _, history = run
    costs = {"pair": model.training_cost().flops, "base alone": model.training_cost().base_alone}
    histories = {"pair": history, "base alone": {"val_accuracy": [0.1, 0.2]}}
    ax = km.plots.plot_accuracy(histories, costs)
    curves = {line.get_label(): line for line in ax.lines}
    assert set(curves) == {"pair: base", "pair: motivated", "base alone"}
    np.testing.assert_allclose(curves["pair: motivated"].get_ydata(), history["val_motivated_accuracy"])
    np.testing.assert_allclose(curves["pair: base"].get_xdata(), [1 / 3, 2 / 3, 1])
    ratio = costs["base alone"] / costs["pair"]
    np.testing.assert_allclose(curves["base alone"].get_xdata(), [ratio / 2, ratio])
    with pytest.raises(ValueError, match=r"a cost for each run. Received for 'base alone'"):
        km.plots.plot_accuracy(histories, {"pair": 1.0})


def test_nothing_recorded():
    for plot in (km.plots.plot_losses, km.plots.plot_share):
        with pytest.raises(ValueError, match="must have recorded batches"):
            plot(km.MotivationHistory())


def test_a_loss_below_zero_is_drawn_on_a_linear_axis():
    model = compiled(km.Schedule([True, False]))
    model.compile("sgd", lambda y, y_pred: -keras.ops.mean(y_pred**2, axis=-1), motivation="never")
    record = km.MotivationHistory()
    fit(model, callbacks=[record])
    assert km.plots.plot_losses(record).get_yscale() == "linear"


def test_a_family():
    model, record = km.MotivatedModel(mlp(4), [mlp(6), mlp(8)], extension="random"), km.MotivationHistory()
    model.compile("sgd", crossentropy(), metrics=["accuracy"], motivation=km.Schedule([0, 1, 2, 2, 0, 1, 1, 0]))
    x, y = vectors()
    history = model.fit(x, y, batch_size=4, validation_data=(x, y), verbose=0, callbacks=[record]).history
    ax = km.plots.plot_accuracy({"family": history}, {"family": model.training_cost().flops})
    curves = {line.get_label(): line for line in ax.lines}
    assert set(curves) == {"family: base", "family: motivated 1", "family: motivated 2"}
    np.testing.assert_allclose(curves["family: motivated 2"].get_ydata(), history["val_motivated_2_accuracy"])
    shaded = {(patch.get_x(), patch.get_width()): patch.get_alpha() for patch in km.plots.plot_losses(record).patches}
    assert set(shaded) == {(0.5, 1.0), (1.5, 2.0), (4.5, 2.0)}
    assert shaded[(1.5, 2.0)] > shaded[(0.5, 1.0)]  # the higher, the darker
