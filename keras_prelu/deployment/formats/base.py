"""The interface of export formats: writing a file, and running it in the format's own runtime.

A new format is a subclass of `Format` in a module of its own, and a line in `registry`.
"""

from __future__ import annotations

import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from keras_prelu.backend.keras_internals import has_automatic_name, producer
from keras_prelu.errors import ExportError
from keras_prelu.graph import functional
from keras_prelu.typing import Array

__all__ = ["Format", "Interface", "Runner", "Settings", "natural_key", "one_by_one"]

Runner = Callable[[Any], list[Array]]
"""Function from inputs as the model takes them to what the runtime computes, in the order of the
model's outputs."""


@dataclass(frozen=True)
class Interface:
    """The names by which a runtime finds the inputs and outputs of a model.

    Attributes:
        inputs: Tuple of strings. The names of the inputs, in the order of their tensors in samples;
            empty for a model without a graph, which doesn't declare its inputs.
        keys: Tuple of strings. The keys of the inputs, sorted; empty for a model whose inputs are
            not a dict. They may differ from the names.
        outputs: Tuple of strings. The keys of the outputs, in the order in which Keras flattens
            them; empty for a model whose outputs are not a dict.
    """

    inputs: tuple[str, ...]
    keys: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of_model(cls, model: keras.Model) -> Interface:
        """Return the names of a model."""
        if not functional.has_graph(model):
            return cls(inputs=(), keys=(), outputs=())
        return cls(
            inputs=tuple(
                producer(tensor).name if has_automatic_name(tensor) else tensor.name
                for tensor in model.inputs
            ),
            # A Sequential has lists of its tensors only.
            keys=_keys(getattr(model, "input", None), model.inputs),
            outputs=_keys(getattr(model, "output", None), model.outputs),
        )

    def inputs_by_name(self, inputs: Any, names: Sequence[str]) -> dict[str, Array]:
        """Return inputs by the names that a runtime has for them.

        Args:
            inputs: Array, or a structure of arrays, as the model takes them.
            names: Sequence of strings. The runtime's names: those of the model's inputs, or their
                keys. If they are neither, the inputs are taken in this order.
        """
        return self._assign(inputs, names, (self.inputs, self.keys))

    def inputs_by_key(self, inputs: Any, names: Sequence[str]) -> dict[str, Array]:
        """Return inputs by name as `inputs_by_name` does, for a runtime that prefers keys.

        The names of a model's inputs may be the keys of other inputs.
        """
        return self._assign(inputs, names, (self.keys, self.inputs))

    def _assign(
        self, inputs: Any, names: Sequence[str], candidates: Sequence[Sequence[str]]
    ) -> dict[str, Array]:
        own_names = self.inputs or names
        if isinstance(inputs, dict) and set(inputs) == set(own_names) != set(self.keys):
            inputs = [inputs[name] for name in own_names]
        in_order = next((own for own in candidates if set(own) == set(names)), names)
        return dict(zip(in_order, map(np.asarray, keras.tree.flatten(inputs)), strict=True))

    def outputs_in_order(self, outputs: dict[str, Any]) -> list[Array]:
        """Return a runtime's named outputs in the model's order.

        Outputs that have other names than the model's are numbered.
        """
        # Keras flattens dicts in the order of their sorted keys.
        by_key = set(outputs) == set(self.outputs)
        names = self.outputs if by_key else sorted(outputs, key=natural_key)
        return [np.asarray(outputs[name]) for name in names]


@dataclass(frozen=True)
class Settings:
    """Settings for writing a file.

    Attributes:
        quantize: String or None. The quantization scheme, or None for float32.
        samples: Array, or a structure of arrays. Inputs as the model takes them.
        opset: Integer or None. Version of the ONNX operators, or None for the exporter's own.
        optimize_for: String or None. "cpu" for ONNX activations in the form that is fastest on a
            CPU, or None for one operation each.
        frozen: Boolean. Whether a SavedModel holds constants instead of variables.
        prune: Float. As in `keras_prelu.bake`.
        interface: `Interface` of the model.
    """

    quantize: str | None
    samples: Any
    opset: int | None
    optimize_for: str | None
    frozen: bool
    prune: float
    interface: Interface


def one_by_one(run: Runner) -> Runner:
    """Return a runner that calls another one, which takes one sample at a time, with each sample.

    Args:
        run: Function as `Runner`. It may compute its outputs in the same memory each time.
    """

    def run_all(inputs: Any) -> list[Array]:
        arrays = [np.ascontiguousarray(array) for array in keras.tree.flatten(inputs)]
        rows = []
        for index in range(len(arrays[0])):
            one = [array[index : index + 1] for array in arrays]
            rows.append([np.array(part) for part in run(keras.tree.pack_sequence_as(inputs, one))])
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    return run_all


class Format(ABC):
    """A file format together with the runtime that reads it.

    Attributes:
        name: String. The name of the format in `export(format=...)`.
        suffix: String. The suffix of its files; "" for a folder.
        backends: Tuple of strings. The Keras backends that can write it.
        options: Frozen set of strings. Those of `quantize`, `opset`, `optimize_for` and
            `frozen` that it supports.
        keeps_half_precision: Boolean. Whether layers that compute in half precision do so in the
            file too. Otherwise they compute in float32 there.
        timed: Boolean. Whether the time of a `Runner` is the time of the runtime itself.
        takes_threads: Boolean. Whether `load` can limit the threads of the runtime.
        traced: Boolean. Whether a file holds the operations that were traced for some sizes of the
            inputs, rather than the layers themselves.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    backends: ClassVar[tuple[str, ...]] = ("tensorflow", "jax", "torch")
    options: ClassVar[frozenset[str]] = frozenset()
    keeps_half_precision: ClassVar[bool] = True
    timed: ClassVar[bool] = True
    takes_threads: ClassVar[bool] = True
    traced: ClassVar[bool] = True

    def packages(self) -> Mapping[str, str]:
        """Return what the format needs on the active backend in addition to keras_prelu.

        Returns:
            Dict from a module to the argument of `pip install` that installs it, an extra where
            there is one.
        """
        return {}

    def check(self) -> None:
        """Raise an ExportError if this process can't write the format."""
        backend = keras.backend.backend()
        if backend not in self.backends:
            raise ExportError(
                f"The format {self.name} needs Keras's {self.backends[0]} backend, and this is"
                f" {backend}. Save the model, and export the file with"
                f" KERAS_BACKEND={self.backends[0]}; on the command line with --backend"
                f" {self.backends[0]}."
            )
        missing = {
            module: source
            for module, source in self.packages().items()
            if importlib.util.find_spec(module) is None
        }
        if missing:
            sources = " ".join(dict.fromkeys(missing.values()))
            raise ExportError(
                f"The format {self.name} needs {' and '.join(missing)}: pip install {sources}."
            )

    def parts(self, path: Path) -> tuple[Path, ...]:
        """Return the files, or the folder, of an export to a path."""
        return (path,)

    @abstractmethod
    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        """Write a converted model to a file or a folder."""

    @abstractmethod
    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        """Load a file in its runtime.

        Args:
            path: Path. The file or folder.
            interface: `Interface` of the model that was written to the file.
            threads: Integer or None. Threads of the runtime, if their number can be set; None if
                the runtime chooses. With a number, a runtime may prepare itself for the shapes of
                the inputs that come first.
        """

    @abstractmethod
    def runtime(self) -> str:
        """Return the name and version of the runtime."""

    def operations(self, path: Path) -> dict[str, int]:
        """Return how often each kind of operation is in the file, the most frequent first.

        The dict is empty if the format doesn't list operations.
        """
        return {}


def _keys(structure: Any, tensors: Sequence[Any]) -> tuple[str, ...]:
    """Return the sorted keys of a dict of tensors, and none for another structure."""
    is_flat = isinstance(structure, dict) and len(structure) == len(tensors)
    return tuple(sorted(structure)) if is_flat else ()


def natural_key(name: str) -> list[int | str]:
    """Return a key that sorts "output_10" after "output_9"."""
    return [int(text) if text.isdigit() else text for text in re.split(r"(\d+)", name)]
