"""TensorFlow SavedModel folders, with a signature that serves raw samples.

TensorFlow fuses ReLUs and LeakyReLUs into convolutions, and no other form of a PReLU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.formats.base import Format, Interface, Runner, Settings
from keras_prelu.deployment.forms import largest_of_two
from keras_prelu.deployment.lowering import lower_model
from keras_prelu.deployment.memory import check_memory
from keras_prelu.typing import Array

__all__ = ["SavedModel"]

_MEMORY_PER_FROZEN_BYTE = 22
"""Memory that TensorFlow takes to freeze a byte of weights: 12 GB for the 0.55 GB of VGG16, and as
much per byte for Dense layers of 36 to 196 MB."""


class SavedModel(Format):
    name, suffix, backends = "saved_model", "", ("tensorflow",)
    takes_threads = False
    options = frozenset({"frozen"})

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        lowered = lower_model(model, settings.samples, settings.prune, largest_of_two)
        if not settings.frozen:
            lowered.export(path, format="tf_saved_model", verbose=False)
            return
        check_memory(
            model,
            _MEMORY_PER_FROZEN_BYTE,
            "To freeze a SavedModel TensorFlow takes",
            "Export without frozen=True (--frozen), or to OpenVINO (.xml).",
        )
        with tempfile.TemporaryDirectory() as folder:
            lowered.export(folder, format="tf_saved_model", verbose=False)
            _freeze(folder, path)

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


def _freeze(folder: str, path: Path) -> None:
    """Write a SavedModel again with its variables as constants, which TensorFlow can fold."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    loaded = tf.saved_model.load(folder)
    (function,) = loaded.serve.concrete_functions
    arguments, _ = function.structured_input_signature
    constant = convert_variables_to_constants_v2(function)

    def serve(*inputs: Any) -> Any:
        outputs = constant(*tf.nest.flatten(inputs))
        return tf.nest.pack_sequence_as(function.structured_outputs, tf.nest.flatten(outputs))

    frozen = tf.Module()
    frozen.serve = tf.function(serve, input_signature=list(arguments))
    tf.saved_model.save(frozen, str(path), signatures={"serving_default": frozen.serve})
