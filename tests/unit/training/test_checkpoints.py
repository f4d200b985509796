"""keras_prelu.training.checkpoints: a training continues where it stopped, to the same weights bit
for bit."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, OrderedDict, defaultdict, deque

import keras
import ml_dtypes
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.training.checkpoint_file import NotPlainError, StateFile, encoded
from keras_prelu.training.checkpoints import Checkpoints
from tests.helpers.processes import QUICK_TO_START

L = keras.layers


def network():
    keras.utils.set_random_seed(0)
    layers = [L.Dense(16, activation="relu"), L.BatchNormalization(), L.Dropout(0.3), L.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


@pytest.fixture(scope="module")
def digits():
    """Three batches to train with."""
    data = kp.data.load("digits", input_shape=(64,))
    return data.train.take(slice(0, 120)), data.test.take(slice(0, 60))


@pytest.fixture(scope="module")
def whole(digits):
    """An uninterrupted fine-tuning without checkpoints."""
    return tuned(digits, None)


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """The folder with the checkpoints of a fine-tuning that is done."""
    folder = tmp_path_factory.mktemp("finished") / "checkpoints"
    tuned(digits, folder)
    return folder


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in the middle of an epoch, or of that epoch of a later run."""

    def __init__(self, epoch, runs=0):
        super().__init__()
        self.epoch, self.runs = epoch, runs

    def on_train_batch_end(self, batch, logs=None):
        if (Interrupt.run, self.now, batch) == (self.runs, self.epoch, 2):
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_begin(self, logs=None):
        Interrupt.run = getattr(Interrupt, "run", -1) + 1


def tuned(digits, folder, interrupt=None, **options):
    Interrupt.run = -1
    callbacks = None if interrupt is None else lambda: [Interrupt(*interrupt)]
    return kp.finetune(
        network(),
        *digits,
        recipe="exp",
        epochs=4,
        seed=3,
        callbacks=callbacks,
        checkpoints=folder,
        **options,
    )


def same(first, second):
    for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.prelu.history == second.prelu.history
    assert first.verdict == second.verdict


@pytest.mark.parametrize("interrupt", [(0, 0), (2, 0), (3, 0), (1, 1)])
def test_interrupted_and_continued_is_uninterrupted(interrupt, whole, digits, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tuned(digits, tmp_path / "run", interrupt)
    result = tuned(digits, tmp_path / "run")
    same(whole, result)
    for a, b in zip(
        whole.control.model.get_weights(), result.control.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


class ForgetAll(keras.callbacks.Callback):
    """The third epoch starts from zeros, so that the second is the best."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.model.set_weights([np.zeros_like(weights) for weights in self.model.get_weights()])


def test_the_best_epoch_is_kept_from_before_the_interrupt(digits, tmp_path):
    def result(folder, *others):
        Interrupt.run = -1
        callbacks = lambda: [ForgetAll(), *others]  # noqa: E731
        return kp.finetune(
            network(),
            *digits,
            recipe="exp",
            epochs=4,
            learning_rate=0.03,
            callbacks=callbacks,
            control=False,
            checkpoints=folder,
        )

    whole = result(None)
    losses = whole.prelu.history["val_loss"]
    assert min(losses) == losses[1]
    with pytest.raises(KeyboardInterrupt):
        result(tmp_path / "run", Interrupt(3))
    same(whole, result(tmp_path / "run"))


def test_what_is_done_is_not_done_again(whole, digits, finished, monkeypatch):
    steps = []
    monkeypatch.setattr(keras.Model, "train_step", lambda *args: steps.append(1))
    same(whole, tuned(digits, finished))
    assert steps == []


def test_a_search_goes_on_too(digits, tmp_path, monkeypatch):
    import keras_prelu.training.recipe_search as module

    arguments = {"recipe": "auto", "epochs": 2, "control": False}
    whole = kp.finetune(network(), *digits, **arguments)
    train, count = module.lowest_selection_loss, []

    def failing(*args):
        count.append(1)
        if len(count) == len(whole.trials):  # in the last one
            raise KeyboardInterrupt
        return train(*args)

    monkeypatch.setattr(module, "lowest_selection_loss", failing)
    with pytest.raises(KeyboardInterrupt):
        kp.finetune(network(), *digits, checkpoints=tmp_path, **arguments)
    result = kp.finetune(network(), *digits, checkpoints=tmp_path, **arguments)
    assert len(whole.trials) > 1
    assert len(count) == len(whole.trials) + 1  # what was done was not done again
    assert result.trials == whole.trials
    assert result.recipe == whole.recipe
    for a, b in zip(whole.model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoints_of_another_fine_tuning_are_refused(digits, finished):
    train, validation = digits
    fewer = (train.take(slice(0, 119)), validation)
    wrong_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=False)
    for data, options in (
        (digits, {"batch_size": 16}),
        (digits, {"loss": wrong_loss}),
        (digits, {"slope_warmup_epochs": 1.0}),
        (fewer, {}),
    ):
        with pytest.raises(kp.errors.FineTuningError, match="another fine-tuning"):
            tuned(data, finished, **options)


def test_a_file_of_another_fine_tuning_is_refused(tmp_path):
    with Checkpoints(tmp_path / "one", "key") as checkpoints:
        checkpoints.file_of("model").write({"epoch": 1})
        checkpoints.add_loss(0.5)
        assert checkpoints.file_of("model").read() == {"epoch": 1}
    shutil.copytree(tmp_path / "one", tmp_path / "moved", ignore=shutil.ignore_patterns("k*", "l*"))
    is_refused = pytest.raises(kp.errors.FineTuningError, match=r"model\.npz' is a .* Remove it")
    with Checkpoints(tmp_path / "moved", "other") as checkpoints, is_refused:
        checkpoints.file_of("model").read()
    (tmp_path / "one" / "key.json").unlink()
    with pytest.raises(kp.errors.FineTuningError, match="another fine-tuning"):
        Checkpoints(tmp_path / "one", "key")  # Its losses may be anyone's.


def test_a_folder_in_which_nothing_was_trained_is_free(tmp_path):
    """As after an error in an option, which is corrected."""
    Checkpoints(tmp_path, "wrong option").close()
    np.savez(tmp_path / "samples.npz", x=1)
    with pytest.raises(kp.errors.FineTuningError, match="another fine-tuning"):
        Checkpoints(tmp_path, "key")
    (tmp_path / "samples.npz").unlink()
    with Checkpoints(tmp_path, "key") as checkpoints:
        checkpoints.add_loss(0.5)
    with pytest.raises(kp.errors.FineTuningError, match="another fine-tuning"):
        Checkpoints(tmp_path, "wrong option")


def test_a_damaged_checkpoint_and_a_folder_that_can_not_be(digits, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "model.npz"
    whole = path.read_bytes()
    with np.load(path) as archive:
        state = {name: archive[name] for name in archive.files}
    short = {**state, "a0": state["a0"][:-4]}
    contents = [whole[:-200], b"", short, {name: state[name] for name in state if name != "a1"}]
    for content in contents:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.savez(path, **content)
        with pytest.raises(kp.errors.FileError, match="can't be read"):
            tuned(digits, tmp_path / "run")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(kp.errors.FileError, match="can't be written"):
        tuned(digits, tmp_path / "file")


def test_losses_are_stored_as_they_are(tmp_path):
    with Checkpoints(tmp_path, "key") as checkpoints:
        for loss in (0.1, float("inf"), 1 / 3):
            checkpoints.add_loss(loss)
    with Checkpoints(tmp_path, "key") as checkpoints:
        assert checkpoints.losses() == [0.1, float("inf"), 1 / 3]


@pytest.mark.parametrize("text", ["", "{", '"key"', "[1", "\0"])
def test_a_damaged_key_is_one_clear_line(tmp_path, text):
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(kp.errors.FileError, match=r"key\.json' can't be read\. Remove it"):
        Checkpoints(tmp_path, "key")
    (tmp_path / "key.json").unlink()
    Checkpoints(tmp_path, "key").close()  # the failure left no lock


def test_a_folder_in_use_is_refused_and_free_afterwards(tmp_path):
    in_use = pytest.raises(kp.errors.FineTuningError, match="Another fine-tuning that is running")
    with Checkpoints(tmp_path, "key"), in_use:
        Checkpoints(tmp_path, "key")
    Checkpoints(tmp_path, "key").close()


@pytest.mark.slow
def test_another_process_is_refused_until_the_first_is_killed(tmp_path):
    script = (
        "import sys, time, pathlib; from keras_prelu.training.checkpoints import Checkpoints;"
        "held = Checkpoints(pathlib.Path(sys.argv[1]), 'key'); "
        "print('locked', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {**os.environ, "KERAS_BACKEND": QUICK_TO_START}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(kp.errors.FineTuningError, match="Another fine-tuning that is running"):
            Checkpoints(tmp_path, "key")
        process.kill()
        process.wait()
    Checkpoints(tmp_path, "key").close()


@pytest.mark.parametrize("dtype", ["float32", "float16", ml_dtypes.bfloat16, "int64", "<U3"])
def test_a_state_comes_back_bit_for_bit(dtype, tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 2)).astype(dtype)
    state = {
        "a": [array, (None, True, 0.1 + 0.2, float("inf"), "ä")],
        "n": array[0, 0],
        "e": keras.ops.less,
        "sets": [{3, 1, "x"}, frozenset([(1, 2)]), deque([1, 2], maxlen=2), deque()],
        "dicts": [{1: 2}, {}, Counter("aab"), OrderedDict(b=1, a=2), defaultdict(list, a=[3])],
    }
    file = StateFile(tmp_path / "state.npz")
    file.write(state)
    found = file.read()
    np.testing.assert_array_equal(found["a"][0], array)
    assert found["a"][0].dtype == array.dtype
    assert type(found["n"]) is type(array[0, 0])
    assert (found["a"][1], found["n"], found["e"]) == (state["a"][1], state["n"], keras.ops.less)
    for name in ("sets", "dicts"):
        assert found[name] == state[name]
        assert [*map(type, found[name])] == [*map(type, state[name])]
    assert found["sets"][2].maxlen == 2
    assert found["dicts"][4].default_factory is list


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1: print},
        os.system,
        [{"a": {range(3)}}],
        defaultdict(print),
        np.array([None]),
        np.zeros(2, "i4, f4"),
    ],
)
def test_what_is_not_plain_is_told(value):
    with pytest.raises(NotPlainError):
        encoded(value, {})


SCRIPT = """
import sys, keras, numpy as np
sys.path.insert(0, {root!r})
import keras_prelu as kp
from tests.unit.training.test_checkpoints import network
data = kp.data.load("digits", input_shape=(64,))
class Slow(keras.callbacks.Callback):
    def on_train_begin(self, logs=None): print("started", flush=True)
    def on_train_batch_end(self, batch, logs=None):
        import time; time.sleep(0.01)
result = kp.finetune(network(), data.train.take(slice(0, 300)), data.test.take(slice(0, 100)), recipe="exp", epochs=6,
                     callbacks=lambda: [Slow()], checkpoints=sys.argv[1] if sys.argv[1] != "none" else None)
np.savez(sys.argv[2], *result.model.get_weights())
"""


@pytest.mark.slow
@pytest.mark.tensorflow
def test_killed_at_any_moment(tmp_path, pytestconfig):
    script = SCRIPT.format(root=str(pytestconfig.rootpath))

    def start(folder, output, seconds=None):
        """Run it; with `seconds`, kill it so long after its training has begun. Its exit status."""
        command = [sys.executable, "-c", script, str(folder), str(output)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
            process.stdout.readline()
            if seconds is not None:
                time.sleep(seconds)
                process.kill()
            process.communicate()
        return process.returncode

    assert start("none", tmp_path / "whole.npz") == 0
    moments = random.Random(0)
    killed = [
        start(tmp_path / "run", tmp_path / "killed.npz", moments.uniform(0.1, 1.0))
        == -signal.SIGKILL
        for _ in range(3)
    ]
    assert sum(killed) >= 2
    assert start(tmp_path / "run", tmp_path / "killed.npz") == 0
    with np.load(tmp_path / "whole.npz") as whole, np.load(tmp_path / "killed.npz") as result:
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], result[name])
