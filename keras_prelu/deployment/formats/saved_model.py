"""TensorFlow SavedModel folders, with a signature that serves raw samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.format import Format, Interface, Runner, Settings
from keras_prelu.deployment.lowering import lower_model
from keras_prelu.typing import Array

__all__ = ["SavedModel"]


class SavedModel(Format):
    name, suffix, backends = "saved_model", "", ("tensorflow",)
    takes_threads = False

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        lower_model(model, settings.samples, settings.prune).export(
            path, format="tf_saved_model", verbose=False
        )

    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        import tensorflow as tf

        # The function below refers to the loaded object, which owns the variables.
        loaded = tf.saved_model.load(str(path))

        def run(inputs: Any) -> list[Array]:
            outputs = loaded.serve(keras.tree.map_structure(tf.convert_to_tensor, inputs))
            return list(map(np.asarray, keras.tree.flatten(outputs)))

        return run

    def runtime(self) -> str:
        import tensorflow as tf

        return f"TensorFlow {tf.__version__}"
