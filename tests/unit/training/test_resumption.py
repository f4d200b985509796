"""keras_prelu.training.resumption: a training continues in the middle of an epoch, to the same
weights bit for bit, with what metrics and callbacks have counted."""

import os
import signal
import subprocess
import sys
from collections import Counter, deque

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data.random_access import random_access_samples
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.training.callback_states import CallbackStates
from tests.helpers.marks import slow_except

L = keras.layers
COUNT, BATCH = 44, 8  # Six batches, the last one smaller.
RNG = np.random.default_rng(0)
X = RNG.normal(size=(COUNT, 6)).astype("float32")
Y = np.arange(COUNT) % 3


def network():
    keras.utils.set_random_seed(0)
    layers = [L.Dense(8, activation="relu"), L.BatchNormalization(), L.Dropout(0.3), L.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        "adam", loss, metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)]
    )
    return model


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C at a step of an epoch, in the first training."""

    def __init__(self, epoch, step):
        super().__init__()
        self.at = epoch, step

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == self.at:
            raise KeyboardInterrupt


class Recorder(keras.callbacks.Callback):
    """What a callback hears and draws, as a user's would count it."""

    def __init__(self, path="somewhere"):
        super().__init__()
        self.heard, self.losses, self.path, self.total = [], np.zeros(2), path, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.heard.append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.losses = np.add(self.losses, [logs["loss"], np.random.rand()])
        self.total += 1


def augmented(x, rng):
    return x + rng.normal(size=x.shape).astype("float32") * 0.1


def augmented_anyhow(x):
    return x + np.random.normal(size=x.shape).astype("float32")


def tuned(train, folder=None, interrupt=None, callbacks=(), **options):
    if folder is not None:
        options = {"save_freq": 1, "checkpoints": folder, **options}
    used = [*callbacks, *([] if interrupt is None else [Interrupt(*interrupt)])]
    arguments = {"epochs": 3, "batch_size": BATCH, "learning_rate": 0.03, "control": False}
    return kp.finetune(
        network(),
        train,
        (X[:20], Y[:20]),
        selection=(X[20:], Y[20:]),
        recipe="exp",
        callbacks=lambda: used,
        **{**arguments, **options},
    )


def interrupted_and_resumed(train, folder, at, **options):
    with pytest.raises(KeyboardInterrupt):
        tuned(train(), folder, at, **options)
    return tuned(train(), folder, **options)


def same(one, other):
    for a, b in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.prelu.history == other.prelu.history
    assert one.verdict == other.verdict


@pytest.fixture(scope="module")
def whole():
    recorder = Recorder()
    return tuned((X, Y), callbacks=[recorder], augment=augmented), recorder


@pytest.mark.parametrize(
    ("at", "save_freq", "done"),
    [
        pytest.param((0, 0), 1, None, id="before the first"),
        pytest.param((1, 3), 1, (1, 3), id="each step"),
        pytest.param((1, 5), 4, (1, 4), id="some steps before"),
        pytest.param(
            (2, 4), 2, (2, 4), id="each other", marks=[pytest.mark.slow, pytest.mark.backends]
        ),
    ],
)
def test_a_training_continues_within_an_epoch(at, save_freq, done, whole, tmp_path, monkeypatch):
    expected, heard = whole
    options = {"augment": augmented, "save_freq": save_freq}
    with pytest.raises(KeyboardInterrupt):
        tuned((X, Y), tmp_path / "run", at, callbacks=[Recorder("old")], **options)
    recorder = Recorder("new")
    trained, step = [], keras.callbacks.CallbackList.on_train_batch_end

    def counted(self, batch, logs=None):
        trained.append(batch)
        return step(self, batch, logs)

    monkeypatch.setattr(keras.callbacks.CallbackList, "on_train_batch_end", counted)
    result = tuned((X, Y), tmp_path / "run", callbacks=[recorder], **options)
    same(expected, result)
    epoch, first = (0, 0) if done is None else done
    assert trained == [*range(first, 6), *list(range(6)) * (2 - epoch)]
    # What it counted goes on; its own setting is that of the call that resumes.
    assert (recorder.heard, recorder.total, recorder.path) == (heard.heard, heard.total, "new")
    np.testing.assert_array_equal(recorder.losses, heard.losses)


def test_schedules_and_early_stopping_go_on(tmp_path):
    def callbacks():
        return [
            keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=9.0, factor=0.3),
            keras.callbacks.EarlyStopping("accuracy", patience=2, min_delta=0.4, mode="max"),
        ]

    options = {"epochs": 6, "learning_rate": None, "optimizer": "sgd"}
    whole = tuned((X, Y), callbacks=callbacks(), **options)
    assert 2 < len(whole.prelu.history["loss"]) < 6  # it was stopped
    assert len(set(whole.prelu.history["learning_rate"])) > 1
    for name, at in (("early", (1, 2)), ("late", (2, 1))):
        with pytest.raises(KeyboardInterrupt):
            tuned((X, Y), tmp_path / name, at, callbacks=callbacks(), **options)
        same(whole, tuned((X, Y), tmp_path / name, callbacks=callbacks(), **options))
    # A training that was stopped is not trained any further.
    same(whole, tuned((X, Y), tmp_path / "late", callbacks=callbacks(), **options))


class Source:
    """Rows on disk."""

    def __init__(self):
        self.read = []

    def rows(self, positions):
        self.read.append(list(positions))
        return X[positions], Y[positions]


def test_samples_on_disk_are_read_from_where_it_stopped(tmp_path):
    def train(source):
        return random_access_samples(source.rows, COUNT, "rows", as_stored=True)

    whole, source = Source(), Source()
    expected = tuned(train(whole))
    with pytest.raises(KeyboardInterrupt):
        tuned(train(Source()), tmp_path, (2, 4))
    same(expected, tuned(train(source), tmp_path))
    batches = [rows for rows in source.read if len(rows) in (BATCH, COUNT % BATCH)]
    last = [rows for rows in whole.read if len(rows) in (BATCH, COUNT % BATCH)]
    assert batches[-2:] == last[-2:]
    assert last[-3] not in batches[-6:]


class Batches(keras.utils.PyDataset):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def __len__(self):
        return COUNT // BATCH

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return X[rows], Y[rows]


class Endless:
    def __iter__(self):
        while True:
            yield from (Batches()[index] for index in range(len(Batches())))


def torch_loader():
    data = pytest.importorskip("torch").utils.data
    return data.DataLoader(list(zip(X, Y, strict=True)), batch_size=BATCH, shuffle=True)


def grain_batches():
    grain = pytest.importorskip("grain")
    rows = grain.MapDataset.source(list(zip(X, Y, strict=True)))
    return rows.shuffle(seed=0).batch(BATCH, drop_remainder=True)


def tf_data():
    tf = pytest.importorskip("tensorflow")
    tf.random.set_seed(0)  # A data set's own seed is combined with the global one.
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(
        COUNT, seed=0, reshuffle_each_iteration=False
    )
    return data.batch(BATCH, drop_remainder=True)


STREAMS = {
    "PyDataset": (Batches, {}),
    "PyDataset, steps": (Batches, {"steps_per_epoch": 3}),
    "DataLoader, shuffled": (torch_loader, {}),
    "Grain": (grain_batches, {}),
    "endless": (Endless, {"steps_per_epoch": 4}),
    "tf.data": (tf_data, {}),
    "tf.data, steps": (tf_data, {"steps_per_epoch": 3}),
    "arrays, steps": (lambda: (X, Y), {"steps_per_epoch": 3}),
    "generator": (lambda: (Batches()[index] for index in range(5)), {}),
}


FAST = ("DataLoader, shuffled", "Grain", "PyDataset, steps")


@pytest.mark.parametrize("kind", slow_except(FAST, {kind: kind for kind in STREAMS}))
def test_each_kind_of_data_continues_within_an_epoch(kind, tmp_path):
    train, options = STREAMS[kind]
    if kind == "DataLoader, shuffled" and keras.backend.backend() != "torch":
        pytest.skip("its order is drawn from the seed on PyTorch alone")
    steps = options.get("steps_per_epoch", 5)
    expected = tuned(train(), **options)
    same(expected, interrupted_and_resumed(train, tmp_path, (1, steps - 1), **options))


class Reshuffled(Batches):
    def on_epoch_end(self):
        pass


class Random(Batches):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + np.random.default_rng().normal(size=x.shape), y


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (Reshuffled, {}, r"\(Reshuffled\).*changes at the start or end of each epoch"),
        (Random, {}, r"\(Random\).*two readings differ.*reshuffle_each_iteration=False"),
        (Random, {"steps_per_epoch": 3}, "two readings differ"),
        (torch_loader, {"steps_per_epoch": 3}, "two readings differ"),
        (lambda: (X, Y), {"augment": augmented_anyhow}, r"a\s+numpy.random.Generator"),
        (lambda: (X, Y), {"save_freq": 0}, "save_freq.*at least 1"),
        (lambda: (X, Y), {"save_freq": "step"}, "'epoch' or a number of steps"),
        (lambda: (X, Y), {"checkpoints": None}, "Give their folder too"),
    ],
)
def test_what_can_not_continue_is_refused(train, options, message, tmp_path):
    with pytest.raises(InvalidArgumentError, match=message):
        tuned(train(), tmp_path, **options)


def test_where_each_epoch_is_stored_alone_nothing_changes(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tuned(Reshuffled(), tmp_path, (1, 3), save_freq="epoch")
    same(tuned(Reshuffled()), tuned(Reshuffled(), tmp_path, save_freq="epoch"))


def test_states_of_callbacks():
    class Chosen(keras.callbacks.Callback):
        def __getstate__(self):
            return {"count": self.count}

    shared, options = [], {"a": 1}
    first, second, chosen = Recorder(), Recorder(), Chosen()
    chosen.count, chosen.time = 0, 0.0
    first.heard, first.options = shared, options
    states = CallbackStates([first, second, chosen])
    assert states.changed() == {key: {} for key in states.changed()}
    shared.append(3)
    options["b"] = 2
    second.total, second.model_like = 7, object()
    chosen.count, chosen.time = 4, 9.0
    changed = list(states.changed().values())
    assert changed == [{"heard": [3], "options": {"a": 1, "b": 2}}, {"total": 7}, {"count": 4}]
    stored = {key: dict(values) for key, values in states.changed().items()}
    stored = {
        key: {name: value * 2 if name == "heard" else value for name, value in v.items()}
        for key, v in stored.items()
    }
    states.restore({**stored, "other.Callback:0": {"x": 1}})
    assert shared == [3, 3]
    assert first.heard is shared


def test_containers_of_callbacks_keep_their_identity():
    def counting():
        callback = keras.callbacks.Callback()
        callback.seen, callback.last, callback.by = {1}, deque([1], 2), Counter()
        return callback, CallbackStates([callback])

    callback, states = counting()
    callback.seen.add(2)
    callback.last += [2, 3]
    callback.by[4] += 1
    ((key, changed),) = states.changed().items()
    other, restored = counting()
    held = other.seen, other.last, other.by
    restored.restore({key: changed})
    assert held == ({1, 2}, deque([2, 3]), Counter({4: 1}))
    assert (held[0] is other.seen, held[1] is other.last, held[2] is other.by) == (True,) * 3


SCRIPT = """
import os, signal, sys, keras, numpy as np
sys.path.insert(0, {root!r})
import keras_prelu as kp
from tests.unit.training.test_resumption import X, Y, Recorder, tuned
class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None): self.now = epoch
    def on_train_batch_end(self, batch, logs=None):
        if [str(self.now), str(batch)] == sys.argv[3:]: os.kill(os.getpid(), signal.SIGKILL)
folder = None if sys.argv[1] == "none" else sys.argv[1]
recorder = Recorder()
result = tuned((X, Y), folder, callbacks=[recorder, Kill()], **({{"save_freq": 2}} if folder else {{}}))
np.savez(sys.argv[2], *result.model.get_weights(), recorder.losses, *result.prelu.history.values())
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch(tmp_path, pytestconfig):
    script = SCRIPT.format(root=str(pytestconfig.rootpath))

    def run(folder, output, *at):
        command = [sys.executable, "-c", script, str(folder), str(tmp_path / output), *map(str, at)]
        return subprocess.run(command, cwd=tmp_path, env=os.environ, check=False).returncode

    assert run("none", "whole.npz") == 0
    for at in ((0, 3), (1, 4)):  # the second from where the first was
        assert run(tmp_path / "run", "killed.npz", *at) == -signal.SIGKILL
    assert run(tmp_path / "run", "killed.npz") == 0
    with np.load(tmp_path / "whole.npz") as whole, np.load(tmp_path / "killed.npz") as result:
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], result[name])
