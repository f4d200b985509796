"""TensorFlow SavedModel folders, with a signature that serves raw samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.formats import Format, Settings
from keras_prelu.deployment.lowering import lowered

__all__ = ["SavedModel"]


class SavedModel(Format):
    name, suffix, backends = "saved_model", "", ("tensorflow",)

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        lowered(model, settings.samples, settings.prune).export(path, format="tf_saved_model", verbose=False)

    def outputs(self, path: Path, inputs: Any) -> list[np.ndarray]:
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))  # held: with it go the variables
        served = loaded.serve(keras.tree.map_structure(tf.convert_to_tensor, inputs))
        return [np.asarray(part) for part in keras.tree.flatten(served)]

    def runtime(self) -> str:
        import tensorflow as tf

        return f"TensorFlow {tf.__version__}"
