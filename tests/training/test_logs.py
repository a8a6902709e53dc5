"""What `fit` and `evaluate` report, and what callbacks can watch."""

import keras
import numpy as np
import pytest
from helpers import Alternate, Recorder, crossentropy, mlp, pair_of, vectors

import keras_motivation as km


def compiled(motivation=None, **kwargs):
    model = km.MotivatedModel(*pair_of("both", mlp))
    model.compile("adam", crossentropy(), metrics=["accuracy"], motivation=motivation or Alternate(), **kwargs)
    return model


def test_epoch_logs():
    x, y = vectors()
    history = compiled().fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0).history
    names = {"loss", "accuracy"}
    assert set(history) == names | {"motivated"} | {f"val_{m}{n}" for m in ("", "motivated_") for n in names}
    assert history["motivated"] == [0.5, 0.5]
    assert all(isinstance(value, float) for series in history.values() for value in series)


def test_loss_and_metrics_run_over_all_batches():
    """The epoch's loss is the mean over batches of both kinds, not the last batch's."""
    x, y = vectors()
    model, record = compiled(), Recorder()
    history = model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0, callbacks=[record]).history
    assert record.motivated == [False, True] * 4
    np.testing.assert_allclose(history["loss"], [np.mean(record.losses)], rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_is_counted(share):
    x, y = vectors()
    history = compiled(km.Always() if share else km.Never()).fit(x, y, batch_size=4, epochs=2, verbose=0).history
    assert history["motivated"] == [share, share]


def test_evaluation_of_the_motivated_model_can_be_switched_off():
    x, y = vectors()
    model = compiled(evaluate_motivated=False)
    assert set(model.evaluate(x, y, verbose=0, return_dict=True)) == {"loss", "accuracy"}
    history = model.fit(x, y, validation_data=(x, y), verbose=0).history
    assert set(history) == {"loss", "accuracy", "motivated", "val_loss", "val_accuracy"}


def test_evaluate_before_fit_and_twice():
    x, y = vectors()
    model = compiled()
    first = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    assert set(first) == {"loss", "accuracy", "motivated_loss", "motivated_accuracy"}
    assert model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True) == first
    model.fit(x, y, verbose=0)
    assert model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True) != first


def test_callbacks_can_watch_the_motivated_model(tmp_path):
    x, y = vectors()
    model = compiled()
    best = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.keras"), monitor="val_motivated_accuracy", mode="max", save_best_only=True
    )
    stop = keras.callbacks.EarlyStopping(monitor="val_motivated_loss", mode="min", min_delta=1e9, patience=1)
    history = model.fit(x, y, epochs=9, validation_data=(x, y), verbose=0, callbacks=[best, stop]).history
    assert len(history["loss"]) == 2
    restored = keras.models.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(
        restored.evaluate(x, y, verbose=0, return_dict=True)["motivated_accuracy"],
        max(history["val_motivated_accuracy"]),
        rtol=1e-5,
    )


def test_the_progress_bar_shows_the_share(capsys):
    x, y = vectors()
    compiled().fit(x, y, batch_size=4, epochs=1, verbose=2)
    assert "motivated: 0.5000" in capsys.readouterr().out


def test_metrics_with_memory_of_their_own_kind():
    """AUC keeps vectors of counts, and starts from zero in every evaluation of either model."""
    x, _ = vectors()
    y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
    pair = pair_of("both", lambda w, h: mlp(w, h, classes=1))
    model = km.MotivatedModel(*pair)
    model.compile(
        "adam",
        keras.losses.BinaryCrossentropy(from_logits=True),
        motivation=Alternate(),
        metrics=[
            keras.metrics.AUC(from_logits=True, name="auc"),
        ],
    )
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y))
    logs = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    for nested, name in ((model.base, "auc"), (model.motivated, "motivated_auc")):
        alone = keras.metrics.AUC(from_logits=True)
        alone.update_state(y, nested.predict(x, verbose=0))
        np.testing.assert_allclose(logs[name], float(alone.result()), rtol=1e-5)
