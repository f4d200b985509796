"""Conversions in processes of their own: killed at random moments, on full disks, in folders that
cannot be written, two at once."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WRITTEN = ("model.prelu.keras", "model.prelu.run.yaml")
COMMAND = (sys.executable, "-m", "keras_prelu", "convert", "model.keras")
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class Outcome:
    """One disturbed conversion.

    Attributes:
        disturbance: What was done.
        message: Last line of the command on standard error.
        broken: Which promise was broken, or "".
    """

    disturbance: str
    message: str
    broken: str


def write_model(path: Path) -> None:
    """Write a network that takes a moment to write: 12 million weights."""
    import keras

    layers = keras.layers
    keras.Sequential(
        [keras.Input((1000,)), layers.Dense(6000, activation="relu"), layers.Dense(1000)]
    ).save(path)


def kills(model: Path, count: int, seed: int) -> Iterator[Outcome]:
    """Kill conversions at random moments; half of them while the output is being written."""
    rng = random.Random(seed)
    with _folder(model) as folder:
        start = time.monotonic()
        subprocess.run(COMMAND, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
        duration = time.monotonic() - start
    for number in range(count):
        with _folder(model) as folder:
            process = subprocess.Popen(
                COMMAND,
                cwd=folder,
                env=ENVIRONMENT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if number % 2:
                _wait_for_a_partial_file(folder, process)
                delay = rng.uniform(0, 0.3)
            else:
                delay = rng.uniform(0, duration)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait()
            yield Outcome(
                disturbance=f"killed {_moment(folder)}",
                message="",
                broken=_broken(folder, model) or _not_repeatable(folder),
            )


def _moment(folder: Path) -> str:
    """Return when a conversion was killed, from the files that it left."""
    files = {path.name for path in folder.iterdir()}
    if files - {"model.keras", *WRITTEN}:
        return "while writing"
    return "after it was done" if "model.prelu.keras" in files else "before"


def full_disks(model: Path, count: int, seed: int) -> Iterator[Outcome]:
    """Convert in a file system that is too small for the output by a random amount. Needs the right
    to mount one."""
    rng = random.Random(seed)
    size = model.stat().st_size
    for _ in range(count):
        with _small_disk(size + rng.randrange(size)) as folder:
            shutil.copy(model, folder / "model.keras")
            yield _expect_failure("full disk", folder, model, "no space left")


def read_only(model: Path) -> Outcome:
    """Convert in a folder where not even root can create files: a file system mounted
    read-only."""
    with _small_disk(3 * model.stat().st_size) as folder:
        shutil.copy(model, folder / "model.keras")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        return _expect_failure("read-only folder", folder, model, "not writable")


def two_at_once(model: Path) -> Outcome:
    """Convert twice at once: one conversion succeeds, and the other names the conflict."""
    with _folder(model) as folder:
        both = [
            subprocess.Popen(
                COMMAND,
                cwd=folder,
                env=ENVIRONMENT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        messages = [process.communicate()[1].decode() for process in both]
        codes = sorted(process.returncode for process in both)
        message = next(
            (line for text in messages for line in text.splitlines() if line.startswith("Error")),
            "",
        )
        broken = "" if codes == [0, 1] and message else f"exit codes {codes}, message {message!r}"
        return Outcome(
            disturbance="two at once", message=message, broken=broken or _broken(folder, model)
        )


def _expect_failure(disturbance: str, folder: Path, model: Path, expected: str) -> Outcome:
    result = subprocess.run(COMMAND, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Note: ")]
    message = (lines or [""])[-1]
    left = sorted(path.name for path in folder.iterdir() if path.name != "model.keras")
    if result.returncode != 1 or len(lines) != 1 or expected not in message.lower():
        broken = f"exit code {result.returncode}, {lines[:3]}"
    else:
        broken = f"left behind: {left}" if left else _broken(folder, model)
    return Outcome(disturbance=disturbance, message=message, broken=broken)


def _broken(folder: Path, model: Path) -> str:
    """Return which promise is broken: the input is unchanged, the output whole or absent."""
    import keras_prelu as kp

    if (folder / "model.keras").read_bytes() != model.read_bytes():
        return "the input was changed"
    output = folder / "model.prelu.keras"
    if output.exists():
        try:
            kp.load_model(output)
        except kp.KerasPReLUError as error:
            return f"the output is not whole: {error}"
    return ""


def _not_repeatable(folder: Path) -> str:
    """Repeat the command, which must work and remove what was left behind."""
    result = subprocess.run(
        [*COMMAND, "--force"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    files = sorted(path.name for path in folder.iterdir())
    return (
        ""
        if result.returncode == 0 and files == sorted(["model.keras", *WRITTEN])
        else f"repeated: {result.stderr[-200:]}, {files}"
    )


def _wait_for_a_partial_file(folder: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not any(
        path.name.startswith(".") for path in folder.iterdir()
    ):
        time.sleep(0.005)


@contextlib.contextmanager
def _folder(model: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        shutil.copy(model, Path(name) / "model.keras")
        yield Path(name)


@contextlib.contextmanager
def _small_disk(size: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)
