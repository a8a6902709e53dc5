"""Files of a pair are written whole or not at all, and a file that does not fit is refused and changes nothing."""

import os
import resource
import stat
import types
import zipfile

import h5py
import keras
import numpy as np
import pytest
from helpers import Alternate, crossentropy, fit, mlp, numpy, pair_of, randomise
from keras import layers

import keras_motivation as km


def pair(base=None, motivated=None, optimizer="adam", motivation=None, weights_map=None, **kwargs):
    ours = pair_of("both", mlp)
    base, motivated = base or ours[0], motivated or ours[1]
    weights_map = weights_map and weights_map(base, motivated)
    model = km.MotivatedModel(base, motivated, weights_map, extension="random", **kwargs)
    if optimizer is not None:
        model.compile(optimizer, crossentropy(), motivation=motivation or km.LossStreak(1))
    return model


@pytest.fixture(scope="module")
def trained():
    model = pair()
    fit(model)
    return model


def state(model):
    """All that training changes, optimizer and the motivated model's own copies included."""
    parts = [model, model.motivated, model.optimizer]
    return [numpy(v).copy() for part in parts for v in getattr(part, "variables", [])]


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for one, two in zip(actual, expected):
        np.testing.assert_array_equal(one, two)


def write(model, path):
    model.save(path) if path.suffix == ".keras" else model.save_weights(path)


@pytest.fixture(params=["pair.keras", "pair.weights.h5"])
def path(request, tmp_path):
    return tmp_path / request.param


# ---- Writing ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_former_file(tmp_path, trained):
    """A real error of the operating system, in the middle of the file."""
    path = tmp_path / "pair.keras"
    trained.save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            trained.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["pair.keras"]


def test_a_disk_that_would_be_full_is_told_before(path, trained, monkeypatch):
    """HDF5 would bring down the process."""
    write(trained, path)
    before = path.read_bytes()
    needed = sum(v.nbytes for v in state(trained))
    free = types.SimpleNamespace(free=needed)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    with pytest.raises(OSError, match=r"No space left on device: [\d,]+ bytes are to be written"):
        write(trained, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    free.free = 10 * len(before)
    write(trained, path)


def test_an_error_while_writing_leaves_nothing_behind(path, trained, monkeypatch):
    def fail(self, store):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(trained.motivation), "save_own_variables", fail)
    with pytest.raises(KeyboardInterrupt):
        write(trained, path)
    assert os.listdir(path.parent) == []


def test_links_and_permissions_are_kept(path, trained):
    """As if the file had been written into."""
    plain = path.parent / "plain"
    plain.touch()
    write(trained, path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    target = path.parent / "elsewhere" / path.name
    target.parent.mkdir()
    os.rename(path, target)
    target.chmod(0o640)
    path.symlink_to(target)
    written = target.stat().st_ino
    write(trained, path)
    assert path.is_symlink()
    assert target.stat().st_ino != written
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_asks_before_it_overwrites(path, trained, monkeypatch):
    write(trained, path)
    save = trained.save if path.suffix == ".keras" else trained.save_weights
    for answer in "ny":
        questions = []
        monkeypatch.setattr("builtins.input", lambda question, a=answer, q=questions: q.append(question) or a)
        before = path.stat().st_ino
        save(path, overwrite=False)
        assert len(questions) == 1
        assert str(path) in questions[0]
        assert (path.stat().st_ino == before) == (answer == "n")


def test_what_is_no_single_file_is_written_as_keras_does(tmp_path, trained):
    trained.save(tmp_path / "folder", zipped=False)
    assert_same(state(keras.saving.load_model(tmp_path / "folder")), state(trained))
    trained.save_weights(tmp_path / "pair.weights.json", max_shard_size=4e-6)
    assert len(list(tmp_path.glob("pair_*.weights.h5"))) > 1
    other = pair()
    other.load_weights(tmp_path / "pair.weights.json")
    assert_same(state(other), state(trained))
    with pytest.raises(ValueError, match="does not fit the pair"):
        pair(optimizer="sgd").load_weights(tmp_path / "pair.weights.json")
    with pytest.raises(ValueError, match=f"extension.*{tmp_path}/pair"):
        trained.save(tmp_path / "pair")
    with pytest.raises(ValueError, match=f"must end in.*{tmp_path}/pair.h5"):
        trained.save_weights(tmp_path / "pair.h5")


# ---- Reading ---------------------------------------------------------------------------------------------------------


def with_dropout(width, hidden):
    inputs = keras.Input((5,))
    return keras.Model(inputs, mlp(width, hidden)(layers.Dropout(0.1)(inputs)))


def at_the_end(base, motivated):
    """A map of the same shapes, into other positions."""
    entries = [
        [i, j, [list(range(o - n, o)) for n, o in zip(base.variables[i].shape, motivated.variables[j].shape)]]
        for i, j, _ in km.WeightsMap.infer(base, motivated).get_config()["entries"]
    ]
    return km.WeightsMap.from_config({"entries": entries}, base, motivated)


# Pairs that the file of `trained` does not fit, and what is said about it.
OTHERS = {
    "optimizer of as many variables": (
        lambda: pair(optimizer="adamw"),
        "optimizer: AdamW in the pair, Adam in the file",
    ),
    "optimizer with more state": (
        lambda: pair(optimizer=keras.optimizers.Adam(amsgrad=True)),
        r"optimizer \(Adam\): \d+ variables in the pair, \d+ in the file",
    ),
    "optimizer in another": (
        lambda: pair(optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())),
        r"optimizer: LossScaleOptimizer\(Adam\) in the pair, Adam in the file",
    ),
    "condition": (
        lambda: pair(motivation=km.LossTrend()),
        "motivation: keras_motivation>LossTrend in the pair, keras_motivation>LossStreak in the file",
    ),
    "condition in another": (
        lambda: pair(motivation=km.Between(km.LossStreak(1))),
        r"motivation: keras_motivation>Between\(keras_motivation>LossStreak\) in the pair",
    ),
    "width": (
        lambda: pair(mlp(4, 1), mlp(7, 2)),
        r"motivated: variable 0 is 'first/kernel' \(5, 7\) in the pair, 'first/kernel' \(5, 6\) in the file",
    ),
    "depth": (lambda: pair(mlp(4, 1), mlp(6, 1)), "motivated: 10 variables in the pair, 16 in the file"),
    "seeds": (lambda: pair(with_dropout(4, 1), with_dropout(6, 2)), "base: 11 variables in the pair, 10 in the file"),
    "positions": (
        lambda: pair(weights_map=at_the_end),
        "weights map: the base's weights have other positions in the motivated model's 'first/bias', 'first/kernel', ",
    ),
    "statistics": (lambda: pair(statistics="shared"), "statistics: 'shared' in the pair, 'private' in the file"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_that_does_not_fit_says_why_and_changes_nothing(what, tmp_path, trained):
    build, message = OTHERS[what]
    other = build()
    fit(other)
    before = state(other)
    trained.save_weights(tmp_path / "pair.weights.h5")
    with pytest.raises(ValueError, match=message):
        other.load_weights(tmp_path / "pair.weights.h5")
    assert_same(state(other), before)


def test_a_backup_that_does_not_fit_is_refused(tmp_path):
    keep = km.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    fit(pair(), callbacks=[keep])
    for callback in (keep, keras.callbacks.BackupAndRestore(str(tmp_path / "backup" / "epoch-1"))):
        with pytest.raises(ValueError, match="optimizer: SGD in the pair, Adam in the file"):
            fit(pair(optimizer="sgd"), callbacks=[callback])


def without(path, name):
    with h5py.File(path, "a") as file:
        del file[name]


def replaced(path, name, value):
    without(path, name)
    with h5py.File(path, "a") as file:
        file[name] = value


# Ways to spoil a file, and what is said about it.
SPOILT = {
    "no memory": (lambda p: without(p, "motivation"), "does not fit.*no memory of the motivation condition"),
    "no optimizer": (lambda p: without(p, "optimizer"), "does not fit.*Skipping variable loading for optimizer"),
    "no weights": (lambda p: without(p, "layers"), "could not be loaded"),
    "one weight": (lambda p: without(p, "optimizer/vars/3"), "does not fit.*Skipping variable loading for optimizer"),
    "description": (lambda p: replaced(p, "vars/pair", np.zeros(9)), "description of its pair cannot be read"),
    "description of nonsense": (
        lambda p: replaced(p, "vars/pair", np.frombuffer(b'{"base": 3}', "uint8")),
        "description of its pair cannot be read",
    ),
    "nested": (
        lambda p: replaced(p, "vars/pair", np.frombuffer(b"[" * 100_000, "uint8")),
        "description of its pair cannot be read",
    ),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-2000]), "truncated"),
    "empty": (lambda p: p.write_bytes(b""), "signature|file"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_file_changes_nothing(what, tmp_path, trained):
    spoil, message = SPOILT[what]
    path = tmp_path / "pair.weights.h5"
    trained.save_weights(path)
    spoil(path)
    other = pair()
    fit(other, epochs=2)
    before = state(other)
    with pytest.raises((ValueError, OSError), match=f"(?s){message}"):
        other.load_weights(path)
    assert_same(state(other), before)


def test_the_file_of_another_model_changes_nothing(tmp_path, trained):
    trained.base.save_weights(tmp_path / "base.weights.h5")
    before = state(trained)
    with pytest.raises(ValueError, match="of the base alone"):
        trained.load_weights(tmp_path / "base.weights.h5")
    assert_same(state(trained), before)


def test_the_function_of_keras_refuses_too(tmp_path, trained):
    trained.save_weights(tmp_path / "pair.weights.h5")
    with pytest.raises(ValueError, match="optimizer: AdamW in the pair, Adam in the file"):
        keras.saving.load_weights(pair(optimizer="adamw"), tmp_path / "pair.weights.h5")


def test_what_does_not_fit_can_be_skipped(tmp_path, trained):
    """On request, as in Keras."""
    trained.save_weights(tmp_path / "pair.weights.h5")
    other = pair(motivation=Alternate())
    with pytest.warns(UserWarning, match="motivation: helpers>Alternate in the pair"):
        other.load_weights(tmp_path / "pair.weights.h5", skip_mismatch=True)
    assert_same([numpy(v) for v in other.weights], [numpy(v) for v in trained.weights])
    assert_same([numpy(v) for v in other.optimizer.variables], [numpy(v) for v in trained.optimizer.variables])


def test_a_pair_that_has_just_been_compiled_takes_the_whole_state(path, trained):
    write(trained, path)
    other = pair(randomise(mlp(4, 1), 8), randomise(mlp(6, 2), 9))
    assert not other.optimizer.built
    other.load_weights(path)
    assert_same(state(other), state(trained))


def test_the_file_of_a_pair_that_has_just_been_compiled_holds_a_whole_state(path):
    """Who goes back to it goes back to an optimizer without momentum."""
    model = pair()
    write(model, path)
    before = state(model)
    fit(model)
    model.load_weights(path)
    assert_same(state(model), before)


def test_weights_into_a_pair_that_is_not_compiled(path, trained):
    write(trained, path)
    other = pair(optimizer=None)
    other.load_weights(path)
    assert_same([numpy(v) for v in other.weights], [numpy(v) for v in trained.weights])


def test_weights_alone_leave_optimizer_and_condition_and_warn(path, trained):
    plain = pair(randomise(mlp(4, 1), 8), randomise(mlp(6, 2), 9), optimizer=None)
    write(plain, path)
    other = pair()
    fit(other)
    kept = [*other.optimizer.variables, *other.motivation.variables]
    before = [numpy(v).copy() for v in kept]
    with (
        pytest.warns(UserWarning, match="Skipping variable loading for optimizer"),
        pytest.warns(UserWarning, match="The file holds no memory of the motivation condition"),
    ):
        other.load_weights(path)
    assert_same([numpy(v) for v in other.weights], [numpy(v) for v in plain.weights])
    assert_same([numpy(v) for v in kept], before)


def test_a_file_without_a_description_is_compared_as_keras_does(tmp_path, trained):
    trained.save_weights(tmp_path / "pair.weights.h5")
    without(tmp_path / "pair.weights.h5", "vars")
    other = pair()
    other.load_weights(tmp_path / "pair.weights.h5")
    assert_same(state(other), state(trained))
    other = pair(optimizer="sgd")
    before = state(other)
    with pytest.raises(ValueError, match=r"does not fit.*Skipping variable loading for optimizer"):
        other.load_weights(tmp_path / "pair.weights.h5")
    assert_same(state(other)[: len(before)], before)


def test_a_model_file_must_fit_itself(tmp_path, trained):
    """Parts of two files put together."""
    trained.save(tmp_path / "one.keras")
    pair(motivation=km.LossTrend()).save(tmp_path / "two.keras")
    with zipfile.ZipFile(tmp_path / "mixed.keras", "w") as mixed:
        for name, members in (("one", ["config.json", "metadata.json"]), ("two", ["model.weights.h5"])):
            with zipfile.ZipFile(tmp_path / f"{name}.keras") as file:
                for member in members:
                    mixed.writestr(member, file.read(member))
    with pytest.raises(ValueError, match="motivation: keras_motivation>LossStreak in the pair"):
        keras.saving.load_model(tmp_path / "mixed.keras")


# ---- The callback ----------------------------------------------------------------------------------------------------


class Stop(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise InterruptedError


def interrupted(folder, epoch, model=None, **kwargs):
    with pytest.raises(InterruptedError):
        fit(model or pair(), epochs=20, callbacks=[km.BackupAndRestore(folder, **kwargs), Stop(epoch)])


def test_the_newest_backup_counts(tmp_path):
    """The tenth is newer than the ninth."""
    interrupted(tmp_path, 10)
    assert os.listdir(tmp_path) == ["epoch-10"]
    os.makedirs(tmp_path / "epoch-9")  # half deleted
    assert fit(pair(), epochs=11, callbacks=[km.BackupAndRestore(tmp_path)]).epoch == [10]
    assert not tmp_path.exists()


def test_an_error_while_backing_up_leaves_the_former_backup(tmp_path, monkeypatch):
    interrupted(tmp_path, 1)
    model = pair()

    def fail(self, store):
        if os.listdir(tmp_path) != ["epoch-1"]:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model.trained_examples), "save_own_variables", fail)
    with pytest.raises(OSError, match="No space left"):
        fit(model, epochs=3, callbacks=[km.BackupAndRestore(tmp_path)])
    assert os.listdir(tmp_path) == ["epoch-1"]
    monkeypatch.undo()
    assert fit(pair(), epochs=3, callbacks=[km.BackupAndRestore(tmp_path)]).epoch == [1, 2]


def test_a_kill_while_the_backup_is_deleted_leaves_no_half_of_it(tmp_path, monkeypatch):
    def killed(folder):
        raise InterruptedError

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(InterruptedError):
        fit(pair(), callbacks=[km.BackupAndRestore(tmp_path)])
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["partial-epoch-1"]
    assert fit(pair(), callbacks=[km.BackupAndRestore(tmp_path)]).epoch == [0]
    assert not tmp_path.exists()


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "epoch").touch()
    fit(pair(), epochs=2, callbacks=[km.BackupAndRestore(tmp_path)])
    assert sorted(os.listdir(tmp_path)) == ["epoch", "notes"]


def test_a_backup_can_be_kept_and_later_fits_start_where_they_should(tmp_path):
    keep = km.BackupAndRestore(tmp_path, delete_checkpoint=False)
    assert fit(pair(), epochs=2, callbacks=[keep]).epoch == [0, 1]
    model = pair()
    assert fit(model, epochs=3, callbacks=[keep]).epoch == [2]
    assert fit(model, epochs=1).epoch == [0]  # after Keras's callback it would not train at all
    assert fit(model, epochs=3, callbacks=[keep]).epoch == []
    assert fit(model, epochs=1).epoch == [0]


@pytest.mark.parametrize("folder", ["", "gs://bucket/backup"])
def test_folders_that_cannot_be(folder):
    with pytest.raises(ValueError, match="`backup_dir` must be a local folder"):
        km.BackupAndRestore(folder)
