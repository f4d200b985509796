"""Keras files of stock layers, checked by a fresh process that can't import this package."""

from __future__ import annotations

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

from keras_prelu.deployment.formats import Format, Settings
from keras_prelu.errors import ExportError, reason_of
from keras_prelu.surgery import graph
from keras_prelu.surgery.bake import bake

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
outputs = keras.tree.flatten(model.predict(keras.tree.pack_sequence_as(json.loads(structure), inputs), verbose=0))
np.savez(folder + "/outputs.npz", **{f"{index:04}": output for index, output in enumerate(outputs)})
"""


class KerasFile(Format):
    name, suffix = "keras", ".keras"

    def __init__(self) -> None:
        self._modules: list[str] = []

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        baked = bake(model, prune=settings.prune)
        # Layers of the user's own need the modules that register them.
        found = {type(layer).__module__ for layer in (baked, *graph.sublayers(baked))}
        self._modules = sorted(module for module in found if module.split(".")[0] not in ("keras", "__main__"))
        baked.save(path)

    def outputs(self, path: Path, inputs: Any) -> list[np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            flat = keras.tree.flatten(inputs)
            arrays: dict[str, Any] = {f"{index:04}": np.asarray(part) for index, part in enumerate(flat)}
            np.savez(f"{folder}/inputs.npz", **arrays)
            structure = json.dumps(keras.tree.map_structure(lambda _: 0, inputs))
            environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-c", _PROGRAM, str(path), folder, structure, *self._modules]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ExportError(f"Keras can't load the file without keras_prelu: {reason_of(ValueError(_last_line(done.stderr)))}.")
            with np.load(f"{folder}/outputs.npz") as file:
                return [file[name] for name in sorted(file.files)]

    def runtime(self) -> str:
        return f"Keras {keras.__version__} without keras_prelu"

    def operations(self, path: Path) -> dict[str, int]:
        model = keras.models.load_model(path, compile=False)
        return dict(Counter(type(layer).__name__ for layer in graph.sublayers(model)).most_common())


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
