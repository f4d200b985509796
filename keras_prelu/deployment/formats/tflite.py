"""TensorFlow Lite files: one PRELU or LEAKY_RELU for each site, after a cap."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.deployment.export_signature import export_signature
from keras_prelu.deployment.formats.base import (
    Format,
    Interface,
    Runner,
    Settings,
    natural_key,
    one_by_one,
)
from keras_prelu.deployment.forms import Form, capped_before, general, largest_of_two
from keras_prelu.deployment.lowering import in_float32, lower_model
from keras_prelu.errors import ExportError
from keras_prelu.typing import Array

__all__ = ["NEED_SAMPLES", "QUANTIZATIONS", "TensorFlowLite", "create_converter"]

QUANTIZATIONS = ("float16", "dynamic", "int8", "int16x8")
NEED_SAMPLES = ("int8", "int16x8")
"""Those that represent activations by integers, whose ranges come from samples."""
_FORMS: dict[str | None, Form] = {
    # int8 would have to represent the bounds of `capped_before` beside other numbers.
    "int8": general,
    # TensorFlow Lite has no PRELU for activations of 16 bits.
    "int16x8": largest_of_two,
}


class TensorFlowLite(Format):
    name, suffix, backends = "tflite", ".tflite", ("tensorflow",)
    keeps_half_precision = False
    options = frozenset({"quantize"})

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        _check_quantization(model, settings)
        form = _FORMS.get(settings.quantize, capped_before)
        lowered = lower_model(model, settings.samples, settings.prune, form)
        lowered = in_float32(lowered, settings.samples)
        try:
            content = _converted(lowered, settings, None)
        except Exception as error:
            # Recurrent layers keep their time steps in a list, and TensorFlow Lite has only lists
            # of tensors whose size is known.
            if "TensorListReserve" not in str(error):
                raise
            of_one = export_signature(model, settings.samples, batch_size=1)
            content = _converted(
                lowered, settings, of_one if isinstance(of_one, list) else [of_one]
            )
        path.write_bytes(content)

    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        runner = _interpreter(path, threads).get_signature_runner()
        details = runner.get_input_details()
        names = sorted(details, key=natural_key)
        takes_one = any(list(details[name]["shape_signature"][:1]) == [1] for name in names)

        def run(inputs: Any) -> list[Array]:
            return interface.outputs_in_order(runner(**interface.inputs_by_name(inputs, names)))

        return one_by_one(run) if takes_one else run

    def runtime(self) -> str:
        import tensorflow as tf

        return f"TensorFlow Lite {tf.__version__}"

    def operations(self, path: Path) -> dict[str, int]:
        # There is no public list of a file's operations. Delegates, once allocated, hide the
        # operations that they take over.
        details = _interpreter(path)._get_ops_details()
        return dict(Counter(operation["op_name"] for operation in details).most_common())


def _check_quantization(model: keras.Model, settings: Settings) -> None:
    """Raise an ExportError for integers that TensorFlow's converter fails on, or crashes."""
    if settings.quantize not in NEED_SAMPLES:
        return
    recurrent = [layer.name for layer in sublayers(model) if isinstance(layer, keras.layers.RNN)]
    if recurrent:
        raise ExportError(
            "TensorFlow Lite does not quantize the activations of recurrent layers, such as"
            f" '{recurrent[0]}' of model '{model.name}'. Use 'dynamic' or 'float16'."
        )
    arrays = keras.tree.flatten(settings.samples)
    if settings.quantize == "int16x8" and any(array.dtype.kind != "f" for array in arrays):
        raise ExportError(
            f"'int16x8' quantizes inputs of real numbers, and model '{model.name}' takes integers."
            " Use 'int8'."
        )


def _converted(lowered: keras.Model, settings: Settings, signature: Any) -> bytes:
    """Return the content of a file; without a signature it takes any number of samples."""
    with tempfile.TemporaryDirectory() as folder:
        lowered.export(folder, verbose=False, input_signature=signature)
        content: bytes = create_converter(folder, settings).convert()
    return content


def create_converter(folder: str, settings: Settings) -> Any:
    """Return TensorFlow's converter for an exported SavedModel.

    Args:
        folder: String. The SavedModel's folder.
        settings: `Settings`. For "int8" and "int16x8", the ranges are computed from its
            samples.

    Returns:
        A `tf.lite.TFLiteConverter`.
    """
    import tensorflow as tf

    converter, quantize = tf.lite.TFLiteConverter.from_saved_model(folder), settings.quantize
    if quantize is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize in NEED_SAMPLES:
        signature = tf.saved_model.load(folder).signatures["serving_default"]
        names = sorted(signature.structured_input_signature[1], key=natural_key)
        samples_by_name = settings.interface.inputs_by_name(settings.samples, names)
        converter.representative_dataset = lambda: _one_by_one(samples_by_name)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if quantize == "int16x8":
        # What has no kernel for 16 bits stays in float32.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    return converter


def _interpreter(path: Path, threads: int | None = None) -> Any:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Warns that the interpreter will move to another package.
        return tf.lite.Interpreter(model_path=str(path), num_threads=threads)


def _one_by_one(samples: dict[str, Array]) -> Iterator[dict[str, Array]]:
    for index in range(len(next(iter(samples.values())))):
        yield {name: array[index : index + 1] for name, array in samples.items()}
