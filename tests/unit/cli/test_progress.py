"""keras_prelu.cli.progress: progress without a terminal."""

import time

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


def test_the_time_that_is_left_is_that_of_this_task(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    state = module._State(description="", start=100.0)
    state.update(0, 10, "")
    assert state.seconds_left() is None
    now[0] = 104.0
    state.update(2, 10, "")
    assert state.seconds_left() == 16.0
    now[0] = 110.0
    state.update(0, 10, "")  # The next one begins.
    assert state.seconds_left() is None
    now[0] = 111.0
    state.update(5, 10, "")
    assert state.seconds_left() == 1.0
