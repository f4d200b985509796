"""The machine that a tool runs on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["BACKENDS", "Machine", "backend", "describe", "machine"]

BACKENDS = ("tensorflow", "jax", "torch")


@dataclass(frozen=True)
class Machine:
    """Hardware and software of a measurement.

    Attributes:
        device: Name of the GPU, or of the processor where there is none; "" if unknown.
        cores: Processor cores that the process may use; 0 if unknown.
        versions: Versions of Python, Keras and the backend, by name.
    """

    device: str
    cores: int
    versions: dict[str, str]


def backend() -> str:
    """Return the name of Keras's active backend."""
    import keras

    return str(keras.backend.backend())


def machine(*packages: str) -> Machine:
    """Describe this machine, with the versions of Keras, its backend and further packages."""
    from keras_prelu.backend.devices import gpu

    versions = {package: metadata.version(package) for package in ("keras", *packages, backend())}
    return Machine(
        device=gpu() or _processor(),
        cores=len(os.sched_getaffinity(0)),
        versions={"python": platform.python_version(), **versions},
    )


def describe(machines: Iterable[Machine]) -> str:
    """Return devices and versions of one or several machines, each named once."""
    machines = list(machines)
    devices = dict.fromkeys(
        f"{machine.device}, {machine.cores} cores" for machine in machines if machine.device
    )
    versions = dict.fromkeys(
        f"{name} {version}" for machine in machines for name, version in machine.versions.items()
    )
    return "; ".join([*devices, ", ".join(versions)] if versions else devices)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line for line in lines if line.startswith("model name"))
        return model.partition(":")[2].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
