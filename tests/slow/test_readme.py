"""README: each Python block and each command runs as written, in order, in one folder."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


# One process runs all of a page, as TensorFlow takes seconds to import: each block of Python in
# names of its own, each command as it is called from a terminal, by the function behind
# `keras-prelu`.
ALL_IN_ORDER = """
import json, sys
from keras_prelu.cli.main import main
for step in json.load(sys.stdin):
    if isinstance(step, str):
        exec(compile(step, "<page>", "exec"), {"__name__": "__main__"})
    else:
        print(">", *step, flush=True)
        try:
            main(step, prog_name="keras-prelu")
        except SystemExit as end:
            assert not end.code, f"{step}: {end.code}"
"""


def run_page(steps, folder):
    """Run programs (text) and commands (lists of arguments) in order; what each command printed."""
    command = [sys.executable, "-c", ALL_IN_ORDER]
    result = subprocess.run(
        command,
        input=json.dumps(steps),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [
        part.partition("\n")[2] for part in re.split(r"^> ", result.stdout, flags=re.MULTILINE)[1:]
    ]


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
def test_everything_in_it_runs(tmp_path):
    commands = commands_of(README)
    assert len(commands) >= 2
    printed = run_page([*programs_of(README), *commands], tmp_path)
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
