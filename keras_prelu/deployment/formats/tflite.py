"""TensorFlow Lite files: one PRELU for each site."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.format import Format, Run, Settings, by_name, in_order
from keras_prelu.deployment.lowering import lowered

__all__ = ["QUANTIZATIONS", "TensorFlowLite", "converter_of"]

QUANTIZATIONS = ("float16", "dynamic", "int8")


class TensorFlowLite(Format):
    name, suffix, backends = "tflite", ".tflite", ("tensorflow",)

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        with tempfile.TemporaryDirectory() as folder:
            lowered(model, settings.samples, settings.prune).export(folder, verbose=False)
            path.write_bytes(converter_of(folder, settings.quantize, settings.samples).convert())

    def load(self, path: Path, threads: int | None = None) -> Run:
        runner = _interpreter(path, threads).get_signature_runner()
        names = list(runner.get_input_details())
        return lambda inputs: in_order(runner(**by_name(inputs, names)))

    def runtime(self) -> str:
        import tensorflow as tf

        return f"TensorFlow Lite {tf.__version__}"

    def operations(self, path: Path) -> dict[str, int]:
        # There is no public list of a file's operations. Delegates, once allocated, hide those that
        # they take over.
        return dict(
            Counter(
                details["op_name"] for details in _interpreter(path)._get_ops_details()
            ).most_common()
        )


def converter_of(folder: str, quantize: str | None, samples: Any) -> Any:
    """TensorFlow's converter for an exported SavedModel.

    Args:
        folder: The SavedModel's.
        quantize: One of `QUANTIZATIONS`, or None.
        samples: For "int8", the inputs that the ranges are taken from.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if quantize is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        signature = (
            tf.saved_model.load(folder).signatures["serving_default"].structured_input_signature[1]
        )
        named = by_name(samples, list(signature))
        converter.representative_dataset = lambda: _one_by_one(named)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter


def _interpreter(path: Path, threads: int | None = None) -> Any:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the interpreter moves to a package of its own
        return tf.lite.Interpreter(model_path=str(path), num_threads=threads)


def _one_by_one(samples: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    for index in range(len(next(iter(samples.values())))):
        yield {name: part[index : index + 1] for name, part in samples.items()}
