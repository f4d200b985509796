"""ONNX files: one PRelu for each site, where Keras's exporter writes Relu, Neg, Relu, Mul and
Add."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np

from keras_prelu.deployment.format import Format, Run, Settings, by_name
from keras_prelu.deployment.formats.onnx.cpu import with_convolutions
from keras_prelu.deployment.formats.onnx.graph import constants, remove_unread
from keras_prelu.deployment.lowering import lowered
from keras_prelu.errors import ExportError
from keras_prelu.utils.machine import physical_memory

__all__ = ["OnnxFile", "with_prelus", "without_idle_steps"]

_TIMES_THE_WEIGHTS = 45
"""InceptionV3's export takes 30 times its 95 MB; that of VGG16, 553 MB, was killed at more than 40
times."""
_WRITERS = {"tensorflow": "tf2onnx", "jax": "jax2onnx"}


class OnnxFile(Format):
    name, suffix = "onnx", ".onnx"

    def packages(self) -> tuple[str, ...]:
        writer = _WRITERS.get(keras.backend.backend())
        return ("onnx", "onnxruntime", *([writer] if writer else []))

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        import onnx

        _check_memory(model)
        _export(lowered(model, settings.samples, settings.prune), path, settings.opset)
        exported = onnx.shape_inference.infer_shapes(onnx.load(path))
        without_idle_steps(exported)
        with_prelus(exported)
        if settings.optimize_for == "cpu":
            with_convolutions(exported)
        _name_batch(exported)
        onnx.checker.check_model(exported, full_check=True)
        onnx.save(exported, path)

    def load(self, path: Path, threads: int | None = None) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        names = [entry.name for entry in session.get_inputs()]
        return lambda inputs: [
            np.asarray(part) for part in session.run(None, by_name(inputs, names))
        ]

    def runtime(self) -> str:
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    def operations(self, path: Path) -> dict[str, int]:
        import onnx

        return dict(Counter(node.op_type for node in onnx.load(path).graph.node).most_common())


def _check_memory(model: keras.Model) -> None:
    """Refuse what TensorFlow and tf2onnx would be killed for: their copies of the weights, as
    numbers and as text."""
    weights = 4 * model.count_params()
    needed, memory = _TIMES_THE_WEIGHTS * weights, physical_memory()
    if keras.backend.backend() == "tensorflow" and memory and needed > memory:
        raise ExportError(
            f"tf2onnx takes about {needed / 1e9:,.0f} GB of memory for {weights / 1e9:,.2f} GB of"
            f" weights, more than the {memory / 1e9:,.0f} GB of this machine. On PyTorch it takes a"
            " tenth: export with KERAS_BACKEND=torch (--backend torch)."
        )


def _export(model: keras.Model, path: Path, opset: int | None) -> None:
    """Through Keras's exporter.

    tf2onnx copies the graph, with all weights, before each of its passes, to go back where one
    fails. In place InceptionV3 takes half the time and a third less memory; where that fails there
    is still the other way.
    """
    try:
        with mock.patch.dict(os.environ, TF2ONNX_CATCH_ERRORS="FALSE"):
            model.export(path, format="onnx", verbose=False, opset_version=opset)
    except Exception:
        model.export(path, format="onnx", verbose=False, opset_version=opset)


def with_prelus(model: Any) -> int:
    """Write Relu(x) + Relu(−x)·c with constant c as PRelu(x, −c), in place; how often that was
    done.

    Args:
        model: An `onnx.ModelProto`.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    known = constants(graph)
    found = [
        (node, *matched)
        for node in graph.node
        if (matched := _match(node, made, known)) is not None
    ]
    for node, tensor, factor in found:
        slopes = numpy_helper.from_array(-factor, f"{node.output[0]}_slopes")
        graph.initializer.append(slopes)
        node.CopyFrom(
            helper.make_node("PRelu", [tensor, slopes.name], list(node.output), name=node.name)
        )
    remove_unread(graph)
    return len(found)


def without_idle_steps(model: Any) -> int:
    """Remove casts to the type that a tensor has already, and reshapes to its shape, in place; how
    many.

    Keras writes many such casts on PyTorch; tf2onnx makes such reshapes of transpositions of 1 × 1
    images, on one side of a PReLU alone.

    Args:
        model: An `onnx.ModelProto` with inferred shapes.
    """
    graph = model.graph
    types = {
        value.name: value.type.tensor_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    results = {output.name for output in graph.output}
    same: dict[str, str] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
        if (
            node.op_type in ("Cast", "Reshape")
            and node.output[0] not in results
            and _is_idle(node, types)
        ):
            same[node.output[0]] = node.input[0]
    for node in [node for node in graph.node if node.output[0] in same]:
        graph.node.remove(node)
    return len(same)


def _is_idle(node: Any, types: dict[str, Any]) -> bool:
    before, after = types.get(node.input[0]), types.get(node.output[0])
    if before is None or after is None:
        return False
    if node.op_type == "Cast":
        return bool(before.elem_type == after.elem_type)
    shapes = [[axis.dim_value for axis in type_.shape.dim] for type_ in (before, after)]
    # Where all axes but the first are known and the same, so is the first.
    return len(shapes[0]) > 1 and shapes[0][1:] == shapes[1][1:] and all(shapes[0][1:])


def _match(
    node: Any, made: dict[str, Any], known: dict[str, np.ndarray]
) -> tuple[str, np.ndarray] | None:
    """For an Add that is the end of a PReLU, the tensor that it is of, and the constant."""

    def is_a(kind: str, name: str) -> bool:
        return name in made and made[name].op_type == kind

    if node.op_type != "Add":
        return None
    for positive, product in (node.input, node.input[::-1]):
        if not (is_a("Relu", positive) and is_a("Mul", product)):
            continue
        for negative, factor in (made[product].input, made[product].input[::-1]):
            if (
                factor not in known
                or not is_a("Relu", negative)
                or not is_a("Neg", made[negative].input[0])
            ):
                continue
            tensor = made[made[negative].input[0]].input[0]
            if made[positive].input[0] == tensor:
                return tensor, known[factor]
    return None


def _name_batch(model: Any) -> None:
    """Call the axis of the batch what it is."""
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes and not axes[0].HasField("dim_value"):
            axes[0].dim_param = "batch"
