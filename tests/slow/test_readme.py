"""README: each Python block and each command runs as written, in order, in one folder."""

import contextlib
import io
import linecache
import os
import re
import shlex
from pathlib import Path

import pytest

from keras_prelu.cli.main import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_page(steps, folder, monkeypatch):
    """Run programs (text) and commands (lists of arguments) in order, in a folder, and return what
    each command printed.

    All run in this process, which has imported TensorFlow: each program in names of its own, and
    each command by the function behind `keras-prelu`."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    printed = []
    for step in steps:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            if isinstance(step, str):
                # As a notebook does, so that the source of the page's functions is known.
                linecache.cache["<page>"] = (len(step), None, step.splitlines(True), "<page>")
                exec(compile(step, "<page>", "exec"), {"__name__": "__main__"})
            else:
                with pytest.raises(SystemExit) as end:
                    main(step, prog_name="keras-prelu")
                assert not end.value.code, f"{step}: {end.value.code}"
                printed.append(output.getvalue())
    return printed


def programs_of(page):
    return [body for language, body in BLOCK.findall(page) if language == "python"]


def commands_of(page):
    """The arguments of the commands in a page's console blocks; those about samples that nobody has
    are left out."""
    lines = [
        line
        for language, body in BLOCK.findall(page)
        if language == "console"
        for line in body.splitlines()
    ]
    commands = [
        shlex.split(line.removeprefix("$ keras-prelu "))
        for line in lines
        if line.startswith("$ keras-prelu ")
    ]
    return [command for command in commands if "samples.npz" not in command]


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("default")  # Readers see warnings; they are no errors for them.
def test_everything_in_it_runs(tmp_path, monkeypatch):
    commands = commands_of(README)
    assert len(commands) >= 2
    printed = run_page([*programs_of(README), *commands], tmp_path, monkeypatch)
    assert len(printed) == len(commands)
    assert all(printed)
    assert {
        "model.keras",
        "model.converted.keras",
        "model.tuned.keras",
        "model.prelu.keras",
        "model.finetuned.keras",
    } <= set(os.listdir(tmp_path))


def test_the_commands_on_top_exist():
    first = next(body for language, body in BLOCK.findall(README) if not language)
    for target in re.findall(r"^make (\w+)", first, re.MULTILINE):
        assert re.search(
            rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
