"""Keras files of stock layers, checked by a fresh process that can't import this package."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.bake import bake
from keras_prelu.deployment.formats.base import Format, Interface, Runner, Settings
from keras_prelu.errors import ExportError, reason_of
from keras_prelu.typing import Array
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["KerasFile"]

_PROGRAM = """
import importlib, sys
sys.modules["keras_prelu"] = None
path, folder, structure, *modules = sys.argv[1:]
for module in modules:
    importlib.import_module(module)
import json
import keras, numpy as np
model = keras.models.load_model(path)
with np.load(folder + "/inputs.npz") as file:
    inputs = [file[name] for name in sorted(file.files)]
samples = keras.tree.pack_sequence_as(json.loads(structure), inputs)
outputs = keras.tree.flatten(model.predict(samples, verbose=0))
np.savez(folder + "/outputs.npz", **{f"{index:04}": output for index, output in enumerate(outputs)})
"""


class KerasFile(Format):
    name, suffix, timed, traced = "keras", ".keras", False, False

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        bake(model, prune=settings.prune).save(path)

    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        return functools.partial(_run_in_fresh_process, path)

    def runtime(self) -> str:
        return f"Keras {keras.__version__} without keras_prelu"

    def operations(self, path: Path) -> dict[str, int]:
        return dict(Counter(type(layer).__name__ for layer in _load_layers(path)).most_common())


def _run_in_fresh_process(path: Path, inputs: Any) -> list[Array]:
    """Return the outputs that a new process computes from a file, on the active backend."""
    with tempfile.TemporaryDirectory() as folder:
        arrays: dict[str, Any] = {
            f"{index:04}": np.asarray(array)
            for index, array in enumerate(keras.tree.flatten(inputs))
        }
        np.savez(f"{folder}/inputs.npz", **arrays)
        structure = json.dumps(keras.tree.map_structure(lambda _: 0, inputs))
        environment = {
            **os.environ,
            "KERAS_BACKEND": keras.backend.backend(),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        modules = _modules_of_custom_layers(path)
        command = [sys.executable, "-c", _PROGRAM, str(path), folder, structure, *modules]
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if process.returncode:
            raise ExportError(
                "Keras can't load the file without keras_prelu:"
                f" {reason_of(ValueError(_last_line(process.stderr)))}."
            )
        with np.load(f"{folder}/outputs.npz") as file:
            return [file[name] for name in sorted(file.files)]


@on_large_graphs
def _load_layers(path: Path) -> list[keras.layers.Layer]:
    return sublayers(keras.models.load_model(path, compile=False))


def _modules_of_custom_layers(path: Path) -> list[str]:
    """Return the modules that register the user's own layers in a file."""
    custom = [
        layer for layer in _load_layers(path) if not type(layer).__module__.startswith("keras.")
    ]
    for layer in custom:
        if type(layer).__module__ == "__main__":
            raise ExportError(
                f"Layer '{layer.name}' is of class {type(layer).__name__}, which the running script"
                " defines: no fresh process can load the file to check it. Put the class into a"
                " module, or save what keras_prelu.bake returns."
            )
    return sorted({type(layer).__module__ for layer in custom})


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
