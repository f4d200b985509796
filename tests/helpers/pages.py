"""Pages of the documentation as programs: what their code and their commands print is what they
show.

A Python block may be followed by a block `output` with what it prints, and a line `$ command` of a
console block by what the command prints; "…" stands for lines that are left out before. The Python
blocks of a page are one program, and its commands come after it, in the same folder.
"""

import contextlib
import io
import linecache
import re
import shlex

import keras
import pytest

from keras_prelu.cli.main import main

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"[-+−]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")
# Which verdict a short training gets, and by which recipe, depends on the backend.
VERDICT = re.compile(r"^.*(PReLU is|Can't tell|No recipe|The fine-tuned|Keep \w).*$")
PROMPT = "$ "
COMMAND = f"{PROMPT}keras-prelu "
SAMPLES = "samples.npz"
"""Samples that nobody has."""
OF_TENSORFLOW = (".tflite", "--optimize-for")
"""Files and options of commands that need TensorFlow."""


def run(page, folder, monkeypatch):
    """Run a page in a folder, and return it with the outputs of this run.

    All runs in this process, which has imported the backend: the commands by the function behind
    `keras-prelu`. Those about samples that nobody has are left out, and on other backends those
    that need TensorFlow, which tests/integration/cli/test_export.py runs on it.
    """
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    keras.utils.clear_session()  # Layers are numbered from the beginning.
    blocks = [*BLOCK.finditer(page)]
    printed, names = {}, {"__name__": "__main__"}
    for number, block in enumerate(blocks):
        if block[1] == "python":
            printed[number + 1] = _run_code(block[2], f"<block {number}>", names)
    outputs = {
        number: _shown(printed[number], block[2])
        for number, block in enumerate(blocks)
        if block[1] == "output"
    }
    for number, block in enumerate(blocks):
        if block[1] == "console":
            outputs[number] = _run_commands(block[2])
    for number in sorted(outputs, reverse=True):
        start, end = blocks[number].span(2)
        page = page[:start] + outputs[number] + page[end:]
    return page


def masked(page):
    """Return a page without the figures in its outputs, which differ between machines."""
    lines, is_output = [], False
    for line in page.splitlines():
        if re.match(r"```\w*$", line):
            is_output = line[3:] in ("output", "console")
        elif is_output and not line.startswith(PROMPT):
            line = VERDICT.sub("(the verdict)", line)
            line = re.sub(r"[ ─]+", " ", FIGURE.sub("#", line))
        lines.append(line)
    return "\n".join(lines)


def _run_code(code, name, names):
    output = io.StringIO()
    # As a notebook does, so that the source of the page's functions is known.
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    with contextlib.redirect_stdout(output):
        exec(compile(code, name, "exec"), names)
    return output.getvalue()


def _run_commands(session):
    lines = []
    for command, expected in _commands(session):
        lines.append(command)
        if not command.startswith(COMMAND) or _is_left_out(command):
            lines += expected
            continue
        output = io.StringIO()
        with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
            main(shlex.split(command.removeprefix(COMMAND)), prog_name="keras-prelu")
        assert not end.value.code, f"{command}: {end.value.code}"
        if expected:
            lines += _shown(output.getvalue(), "\n".join(expected)).splitlines()
    return "\n".join(lines) + "\n"


def _is_left_out(command):
    is_elsewhere = keras.backend.backend() != "tensorflow"
    return SAMPLES in command or (is_elsewhere and any(word in command for word in OF_TENSORFLOW))


def _commands(session):
    """Return the commands of a console block, each with the lines below it."""
    found = []
    for line in session.splitlines():
        if line.startswith(PROMPT):
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return found


def _shown(output, expected):
    """Return the lines of an output that a page shows: all, or as many of the last as after "…"."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    if expected.startswith("…"):
        lines = ["…", *lines[-expected.strip().count("\n") :]]
    return "\n".join(lines) + "\n"
