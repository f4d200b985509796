"""ONNX files, run by onnxruntime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.data.declarations import output_names
from keras_prelu.deployment.formats.base import Format, Interface, Runner, Settings
from keras_prelu.deployment.formats.onnx.cpu_rewriting import use_convolutions
from keras_prelu.deployment.formats.onnx.flat_outputs import with_flat_outputs
from keras_prelu.deployment.formats.onnx.grouped_convolutions import make_groups_convertible
from keras_prelu.deployment.formats.onnx.large_weights import LargeWeights
from keras_prelu.deployment.formats.onnx.open_sizes import (
    export_with_open_sizes,
    is_traced_wrongly,
)
from keras_prelu.deployment.formats.onnx.rewriting import (
    fuse_prelus,
    name_batch_axis,
    name_outputs,
    remove_idle_nodes,
)
from keras_prelu.deployment.lowering import constants_as_arrays, in_float32, lower_model
from keras_prelu.deployment.memory import check_memory
from keras_prelu.errors import ExportError, reason_of
from keras_prelu.utils.process_state import environment_variable

__all__ = ["OnnxFile"]

_LARGEST_FILE = 2**31
"""Bytes of a message of Protocol Buffers."""
_MEMORY_PER_CONSTANT_BYTE = 45
"""InceptionV3's export with constants took 30 times its 95 MB; that of VGG16, 553 MB, was killed at
more than 40 times."""
_MEMORY_ON_TORCH = 6
"""The same on PyTorch: 5.7 for a Dense model of 134 and 288 MB, besides what it takes for any."""
_EXTRA = "'keras-prelu[onnx]'"
_EXPORTERS = {"tensorflow": {"tf2onnx": _EXTRA}, "jax": {"jax2onnx": "jax2onnx"}}

_passes_in_place = environment_variable("TF2ONNX_CATCH_ERRORS", "FALSE")
"""Context in which tf2onnx optimizes a graph in place.

tf2onnx copies the graph, with all weights, before each of its passes, to go back where one fails.
In place InceptionV3 takes half the time and a third less memory. Failure mode: another thread that
uses tf2onnx meanwhile gets an exception where one of its passes fails.
"""


class OnnxFile(Format):
    name, suffix = "onnx", ".onnx"
    keeps_half_precision = False
    options = frozenset({"opset", "optimize_for"})

    def packages(self) -> Mapping[str, str]:
        return dict.fromkeys(("onnx", "onnxruntime"), _EXTRA) | _EXPORTERS.get(
            keras.backend.backend(), {}
        )

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        import onnx

        _check_size(model)
        lowered = in_float32(lower_model(model, settings.samples, settings.prune), settings.samples)
        if keras.backend.backend() == "tensorflow":
            lowered = constants_as_arrays(lowered)
        flat, keys = with_flat_outputs(lowered, settings.samples)
        exported = onnx.shape_inference.infer_shapes(_exported(flat, path, settings))
        remove_idle_nodes(exported)
        fuse_prelus(exported)
        if settings.optimize_for == "cpu":
            use_convolutions(exported)
        name_batch_axis(exported)
        name_outputs(exported, keys or settings.interface.outputs or output_names(model))
        onnx.checker.check_model(exported, full_check=True)
        onnx.save(exported, path)

    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        names = [entry.name for entry in session.get_inputs()]
        return lambda inputs: list(
            map(np.asarray, session.run(None, interface.inputs_by_name(inputs, names)))
        )

    def runtime(self) -> str:
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    def operations(self, path: Path) -> dict[str, int]:
        import onnx

        return dict(Counter(node.op_type for node in onnx.load(path).graph.node).most_common())


def _check_size(model: keras.Model) -> None:
    """Raise an ExportError for models that no ONNX file holds."""
    weights = 4 * model.count_params()
    if weights > _LARGEST_FILE:
        raise ExportError(
            f"An ONNX file holds at most {_LARGEST_FILE / 1e9:.1f} GB, and model '{model.name}' has"
            f" {weights / 1e9:,.1f} GB of weights. Export to OpenVINO (.xml) or a SavedModel."
        )


def _exported(model: keras.Model, path: Path, settings: Settings) -> Any:
    """Return the ONNX model that Keras's exporter writes for a lowered model."""
    import onnx

    make_groups_convertible(model)
    weights = LargeWeights(model)
    reason = None
    if weights.can_be_apart():
        try:
            with _passes_in_place():
                weights.export(path, settings)
            exported = onnx.load(path)
            weights.insert(exported)
            return exported
        except MemoryError:
            raise  # With constants it takes more.
        except Exception as error:
            # tf2onnx converts some operations only if their weights are constants.
            reason = reason_of(error)
    _check_memory(model, reason)
    _export(model, path, settings)
    return onnx.load(path)


def _check_memory(model: keras.Model, reason: str | None) -> None:
    """Raise an ExportError for models whose export would exhaust the memory.

    TensorFlow and tf2onnx hold copies of the weights as numbers and as text, and PyTorch's exporter
    holds several as numbers.

    Args:
        model: `keras.Model`.
        reason: String or None. Why the large weights were not converted apart; None if there are
            none, or they can't be.
    """
    if keras.backend.backend() == "tensorflow":
        check_memory(
            model,
            _MEMORY_PER_CONSTANT_BYTE,
            "To convert weights as constants tf2onnx takes",
            "On PyTorch it takes a seventh: export with KERAS_BACKEND=torch (--backend torch)."
            + (f" Here the weights can't be converted apart ({reason})." if reason else ""),
        )
    elif keras.backend.backend() == "torch":
        check_memory(
            model,
            _MEMORY_ON_TORCH,
            "PyTorch's exporter takes",
            "On TensorFlow, export to OpenVINO (.xml) or a SavedModel (--backend tensorflow).",
        )


def _export(model: keras.Model, path: Path, settings: Settings) -> None:
    """Write a file with Keras's exporter: in place, or with copies if that fails."""
    if is_traced_wrongly(model):
        export_with_open_sizes(model, path, settings)
        return
    try:
        with _passes_in_place():
            model.export(path, format="onnx", verbose=False, opset_version=settings.opset)
    except Exception:
        model.export(path, format="onnx", verbose=False, opset_version=settings.opset)
