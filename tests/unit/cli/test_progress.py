"""keras_prelu.cli.progress: progress without a terminal."""

import re
import time

import keras
import numpy as np
import pytest

from keras_prelu.cli import finetuning, runners
from keras_prelu.cli import progress as module


def test_lines_tell_how_far_it_is_also_while_nothing_is_updated(monkeypatch, capsys):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.02)
    with module.progress("Calibrating") as update:
        time.sleep(0.1)
        update(3, 40)
        time.sleep(0.1)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[0] == "Calibrating, 0 s"
    assert lines[-1] == "Calibrating 3/40, 0 s"


def test_nothing_is_printed_for_what_is_done_soon(monkeypatch, capsys):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 60.0)
    with module.progress("Calibrating") as update:
        update(1, 2)
    assert capsys.readouterr().err == ""


def test_lines_have_the_note_and_the_time_that_is_left(monkeypatch, capsys):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.05)
    with module.progress("Fine-tuning", counts=False) as update:
        update(0, 100, "epoch 1/2, loss 2")
        time.sleep(0.1)
        update(50, 100, "epoch 2/2, loss 1")
        time.sleep(0.1)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Fine-tuning, epoch 2/2, loss 1, 0 s, about 0 s left")


def test_no_time_is_left_to_tell_when_all_units_are_done(monkeypatch):
    """Something without units may follow, such as a measurement or another training."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    state = module._State(description="", start=100.0)
    state.update(0, 10, "", "the ReLU model")
    now[0] = 110.0
    state.update(10, 10, "", "the ReLU model")
    assert state.left() == ""
    # The next stage has as many units, and its first update comes when all of them are done.
    now[0] = 200.0
    state.update(10, 10, "", "the ReLU control")
    assert state.left() == ""
    now[0] = 201.0
    state.update(2, 10, "", "the ReLU control")
    now[0] = 203.0
    state.update(4, 10, "", "the ReLU control")
    assert state.left() == "about 6 s left of the ReLU control"


def test_trainings_of_one_network_have_different_names():
    trainings = ["model", "model_1", "control", "prepared_control", "run_1_control", "from-scratch"]
    names = [finetuning.training_name(each, "ReLU") for each in trainings]
    assert names == [
        "the ReLU model",
        "the ReLU model, second attempt",
        "the ReLU control",
        "the ReLU control, prepared alike",
        "the ReLU control, run 2",
        "the PReLU control, from-scratch",
    ]


def test_a_training_shows_its_stage_from_its_beginning():
    shown = []
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callback = finetuning._training_progress(
        lambda done, total, note, stage: shown.append((stage, done, total, note)), "control"
    )
    x = np.zeros((8, 2), dtype="float32")
    model.fit(x, x[:, :1], batch_size=4, epochs=2, verbose=0, callbacks=[callback])
    assert shown[0] == ("the ReLU control", 0, 4, "epoch 1/2")
    assert [each[1] for each in shown[1:] if "loss" in each[3]][-1] == 4
    assert {each[0] for each in shown} == {"the ReLU control"}


def test_a_search_is_half_done_after_its_first_round():
    """Whose trainings are as long together as the fewer and longer ones of the second round."""
    shown = []
    update = finetuning.trial_progress(lambda done, *others, **more: shown.append(done))
    for done in range(1, 9):  # Six in the first round, and two that advance.
        update(done, 8)
    assert shown == pytest.approx([1 / 12, 1 / 6, 1 / 4, 1 / 3, 5 / 12, 1 / 2, 3 / 4, 1])


def test_passes_that_follow_each_other_are_counted():
    stages = []
    show = runners._by_pass(lambda done, total, stage: stages.append(stage))
    for done, total in [(1, 3), (2, 3), (3, 3), (1, 3), (3, 3), (3, 5)]:
        show(done, total)
    assert [int(re.search(r"\d+", each)[0]) for each in stages] == [1, 1, 1, 2, 2, 3]


def test_the_time_that_is_left_is_that_of_this_task(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    state = module._State(description="", start=100.0)
    state.update(0, 10, "", "")
    assert state.seconds_left() is None
    now[0] = 104.0
    state.update(2, 10, "", "")
    assert state.seconds_left() == 16.0
    now[0] = 110.0
    state.update(0, 10, "", "")  # The next one begins.
    assert state.seconds_left() is None
    now[0] = 111.0
    state.update(5, 10, "", "")
    assert state.seconds_left() == 1.0
