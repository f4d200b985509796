"""TensorFlow SavedModel folders, with a signature that serves raw samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.format import Format, Run, Settings
from keras_prelu.deployment.lowering import lowered

__all__ = ["SavedModel"]


class SavedModel(Format):
    name, suffix, backends = "saved_model", "", ("tensorflow",)
    takes_threads = False

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        lowered(model, settings.samples, settings.prune).export(
            path, format="tf_saved_model", verbose=False
        )

    def load(self, path: Path, threads: int | None = None) -> Run:
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))  # held by the function: with it go the variables

        def run(inputs: Any) -> list[np.ndarray]:
            served = loaded.serve(keras.tree.map_structure(tf.convert_to_tensor, inputs))
            return [np.asarray(part) for part in keras.tree.flatten(served)]

        return run

    def runtime(self) -> str:
        import tensorflow as tf

        return f"TensorFlow {tf.__version__}"
