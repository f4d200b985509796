"""`keras-prelu demo`, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from tools.bench.gpu.effort import Effort
from tools.bench.gpu.records import Fact, Failure, Log

PART = "demo"


def measure(effort: Effort, log: Log) -> None:
    """Run it in a process of its own; record its time, its exit status and its verdict."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench_gpu_") as folder:
        command = [
            sys.executable,
            "-m",
            "keras_prelu.cli.main",
            "demo",
            f"--output={folder}",
            *effort.demo,
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    log.add(Fact(part=PART, name="keras-prelu demo", value=time.perf_counter() - start, unit="s"))
    log.add(Fact(part=PART, name="exit code", value=float(found.returncode)))
    verdicts = [line for line in found.stdout.splitlines() if line.startswith("Verdict")]
    if verdicts:
        log.add(Fact(part=PART, name="verdict", value=verdicts[-1].partition(": ")[2]))
    else:
        log.add(
            Failure(part=PART, work="keras-prelu demo", reason=found.stderr[-300:] or "no verdict")
        )
