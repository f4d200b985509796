"""What every format of an exported model can do: be written, and be run by its own runtime."""

from __future__ import annotations

import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from keras_prelu.errors import ExportError

__all__ = ["Format", "Run", "Settings", "by_name", "in_order"]

Array = np.ndarray

Run = Callable[[Any], list[Array]]
"""From inputs as the model takes them to what the runtime computes, in the order of the model's
outputs."""


@dataclass(frozen=True)
class Settings:
    """How a file is written.

    Attributes:
        quantize: What its numbers become, or None for float32.
        samples: Inputs as the model takes them.
        opset: Version of the ONNX operators, or None for the exporter's own.
        optimize_for: "cpu" for ONNX activations in the form that is fastest there, or None for one
            operation each.
        prune: As in `keras_prelu.bake`.
    """

    quantize: str | None
    samples: Any
    opset: int | None
    optimize_for: str | None
    prune: float


class Format(ABC):
    """A format, with the runtime that reads it."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    backends: ClassVar[tuple[str, ...]] = ("tensorflow", "jax", "torch")
    timed: ClassVar[bool] = True
    """Whether the time of a run of what was loaded is the runtime's own."""
    takes_threads: ClassVar[bool] = True
    """Whether `load` can limit the threads of a run."""

    def packages(self) -> tuple[str, ...]:
        """What has to be installed beside keras_prelu on the active backend: modules, which the
        extra of the format's name brings."""
        return ()

    def check(self) -> None:
        """Raise an ExportError where this process can't write the format."""
        backend = keras.backend.backend()
        if backend not in self.backends:
            raise ExportError(
                f"The format {self.name} needs Keras's {self.backends[0]} backend, and this is"
                f" {backend}. Save the model, and export the file with"
                f" KERAS_BACKEND={self.backends[0]}; on the command line with --backend"
                f" {self.backends[0]}."
            )
        missing = [
            package for package in self.packages() if importlib.util.find_spec(package) is None
        ]
        if missing:
            names = " ".join(missing)
            raise ExportError(
                f"The format {self.name} needs packages that are not installed: pip install"
                f" {names}."
            )

    def parts(self, path: Path) -> tuple[Path, ...]:
        """The files, or the folder, that an export to a path is made of."""
        return (path,)

    @abstractmethod
    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        """Write a file, or a folder, of a converted model."""

    @abstractmethod
    def load(self, path: Path, threads: int | None = None) -> Run:
        """The file in its runtime.

        Args:
            path: The file's, or the folder's.
            threads: How many a run takes, where the runtime can be told; None for what it takes by
                itself.
        """

    @abstractmethod
    def runtime(self) -> str:
        """The name and version of the runtime."""

    def operations(self, path: Path) -> dict[str, int]:
        """How often each kind of operation is in the file, the most frequent first; empty where the
        format doesn't tell."""
        return {}


def by_name(inputs: Any, names: Sequence[str]) -> dict[str, Array]:
    """Inputs as the model takes them, by a runtime's names for them: its own where it has names,
    else in order."""
    flat = keras.tree.flatten(inputs)
    if isinstance(inputs, dict) and set(inputs) == set(names):
        return {name: np.asarray(inputs[name]) for name in names}
    return dict(zip(names, map(np.asarray, flat), strict=True))


def in_order(outputs: dict[str, Any]) -> list[Array]:
    """A runtime's named outputs in the model's order: Keras sorts dicts by name, and numbers the
    outputs of lists."""
    return [
        np.asarray(outputs[name])
        for name in sorted(
            outputs,
            key=lambda name: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", name)],
        )
    ]
