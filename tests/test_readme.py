"""README: each Python block and each command runs as written, in order, in one folder."""

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder, env={**os.environ, "PATH": path})
    assert result.returncode == 0, f"{command}\n{result.stderr}"
    return result.stdout


def run_python(body, folder):
    return run([sys.executable, "-c", body], folder)


def commands_of(page, folder):
    """For each command of a page's console blocks a function that runs it and returns what it printed."""
    lines = [line for language, body in BLOCK.findall(page) if language == "console" for line in body.splitlines()]
    commands = [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ keras-prelu ")]
    return [functools.partial(run, command, folder) for command in commands if "samples.npz" not in command]


@pytest.mark.tensorflow
def test_everything_in_it_runs(tmp_path):
    for language, body in BLOCK.findall(README):
        if language == "python":
            run_python(body, tmp_path)
    commands = commands_of(README, tmp_path)
    assert len(commands) >= 6
    for command in commands:
        assert command()
    assert {"model.keras", "model.tuned.keras", "model.prelu.keras", "model.prelu.finetuned.keras", "exact.keras"} <= set(
        os.listdir(tmp_path)
    )


def test_the_commands_on_top_exist():
    first = next(body for language, body in BLOCK.findall(README) if not language)
    for target in re.findall(r"^make (\w+)", first, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
