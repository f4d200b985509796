"""keras_prelu.cli.console: progress without a terminal."""

import time

from keras_prelu.cli import console


def test_lines_tell_how_far_it_is_also_while_nothing_is_updated(monkeypatch, capsys):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.02)
    with console.progress("Calibrating") as update:
        time.sleep(0.1)
        update(3, 40)
        time.sleep(0.1)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[0] == "Calibrating, 0 s"
    assert lines[-1] == "Calibrating 3/40, 0 s"


def test_nothing_is_printed_for_what_is_done_soon(monkeypatch, capsys):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 60.0)
    with console.progress("Calibrating") as update:
        update(1, 2)
    assert capsys.readouterr().err == ""
