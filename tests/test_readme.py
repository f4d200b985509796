"""README: each Python block and each command runs as written, in order, in one folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language):
    return [body for name, body in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")) if name == language]


def run(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder, env={**os.environ, "PATH": path})
    assert result.returncode == 0, f"{command}\n{result.stderr}"
    return result.stdout


@pytest.mark.tensorflow
def test_everything_in_it_runs(tmp_path):
    for body in blocks("python"):
        run([sys.executable, "-c", body], tmp_path)
    commands = [line.removeprefix("$ ").split() for body in blocks("console") for line in body.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 6
    for command in commands:
        assert run(command, tmp_path)
    assert {"model.keras", "model.tuned.keras", "model.prelu.keras", "model.prelu.finetuned.keras", "exact.keras", "demo"} <= set(
        os.listdir(tmp_path)
    )


def test_the_commands_on_top_exist():
    (first, *_) = blocks("")
    for target in re.findall(r"^make (\w+)", first, re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
