"""tools.gpu: it runs from its one command; on a machine without a GPU the memory stays unknown."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bench.records import OURS, RELU, STOCK
from tools.gpu.__main__ import markdown


@pytest.mark.tensorflow
def test_a_trial(tmp_path):
    command = [sys.executable, "-m", "tools.gpu", "--trial", f"--output={tmp_path}"]
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd=Path(__file__).parents[3],
        env=environment,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads((tmp_path / "results.json").read_text())["torch"]
    assert [step["activation"] for step in found["steps"]] == [RELU, STOCK, OURS]
    assert all(step["milliseconds"] > 0 for step in found["steps"])
    assert f"| 1 × 32² | float32 | {OURS} |" in (tmp_path / "RESULTS.md").read_text()


def test_memory_is_beside_that_of_relu():
    step = {"milliseconds": 2.0, "ratio": 1.5, "low": 1.25, "high": 1.75}
    steps = [
        {"activation": name, "bytes": size, **step} for name, size in ((RELU, 2e9), (OURS, 3e9))
    ]
    results = {
        "jax": {
            "machine": {"device": "chip"},
            "setting": {"size": 8, "batch": 2, "policy": "float32"},
            "steps": steps,
        }
    }
    last = markdown(results).splitlines()[-1]
    assert (
        last == f"| jax | chip | 2 × 8² | float32 | {OURS} | 2.0 | 1.50 (1.25–1.75) | 3.00 | 1.50 |"
    )
