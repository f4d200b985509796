"""What runtimes execute of a file: the operations that are left when they have fused what they can.
Each network and form in a process of its own: `python -m tools.deployment.executed ResNet50 onnx`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from tools.common.processes import emit, json_lines, quiet
from tools.common.records import decode
from tools.deployment.matrix import FORMS, exported_files

NETWORKS = ("MobileNetV2", "ResNet50")
"""One network with capped and depthwise layers, and one with neither."""


@dataclass(frozen=True)
class ExecutedGraph:
    """The operations that a runtime executes of a network with PReLUs and of its original.

    Attributes:
        network: Name of the constructor.
        form: A name of `FORMS`.
        sites: Number of the PReLU layers.
        prelu: Number of each kind of operation. What is fused stands in brackets.
        original: The same for the network with ReLUs.
    """

    network: str
    form: str
    sites: int
    prelu: Mapping[str, int]
    original: Mapping[str, int]


def executed_graph(network: str, form: str) -> ExecutedGraph:
    """Export a network and its original, load both files in their runtime, and count operations."""
    with tempfile.TemporaryDirectory() as folder:
        files = exported_files(network, form, Path(folder))
        count = READERS[files.format]
        return ExecutedGraph(
            network=network,
            form=form,
            sites=files.sites,
            prelu=dict(count(files.path, files.samples[:1])),
            original=dict(count(files.reference, files.samples[:1])),
        )


def of_onnx(path: Path, samples: np.ndarray) -> Counter[str]:
    """Count the nodes of the model that onnxruntime has optimized."""
    import onnx
    import onnxruntime

    optimized = path.with_name("optimized.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimized)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    counts: Counter[str] = Counter()
    for node in onnx.load(optimized).graph.node:
        fused = [a.s.decode() for a in node.attribute if a.name == "activation" and a.s]
        counts[_kind(node.op_type, fused)] += 1
    return counts


def of_openvino(path: Path, samples: np.ndarray) -> Counter[str]:
    """Count the nodes of the model that OpenVINO has compiled, with the operations fused into them."""
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape(samples.shape)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kind_of = {op.get_friendly_name(): op.get_type_name() for op in model.get_ops()}
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind = str(info["layerType"].astype(str))
        if kind in ("Const", "Input", "Output"):
            continue
        names = str(info["originalLayersNames"].astype(str)).split(",")
        fused = [kind_of[name] for name in names if kind_of.get(name) in _ACTIVATIONS]
        counts[_kind(kind, fused if kind != "Eltwise" and len(names) > 1 else [])] += 1
    return counts


def of_saved_model(path: Path, samples: np.ndarray) -> Counter[str]:
    """Count the nodes of the graphs that TensorFlow executes after its optimizers."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        loaded = v1.saved_model.load(session, ["serve"], str(path))
        signature = loaded.signature_def["serving_default"]
        (fed,), outputs = signature.inputs.values(), signature.outputs.values()
        metadata = v1.RunMetadata()
        session.run(
            [each.name for each in outputs],
            {fed.name: samples},
            options=v1.RunOptions(output_partition_graphs=True),
            run_metadata=metadata,
        )
    counts: Counter[str] = Counter()
    for graph in metadata.partition_graphs:
        for node in graph.node:
            if node.op not in _NOT_COMPUTED:
                fused = [each.decode() for each in node.attr["fused_ops"].list.s]
                counts[_kind(node.op, [each for each in fused if each != "BiasAdd"])] += 1
    return counts


READERS: Mapping[str, Callable[[Path, np.ndarray], Counter[str]]] = {
    "onnx": of_onnx,
    "openvino": of_openvino,
    "saved_model": of_saved_model,
}
"""The functions that count by format. TensorFlow Lite executes the operations of its file."""

EXECUTED_FORMS = tuple(form for form in FORMS if not form.startswith(("keras", "tflite")))

_ACTIVATIONS = frozenset(
    {"Clamp", "Maximum", "Minimum", "Multiply", "PRelu", "Relu", "Subtract", "Add", "LeakyRelu"}
)
_NOT_COMPUTED = frozenset(
    {"Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp", "VarHandleOp", "_Arg", "_Retval"}
)


def _kind(operation: str, fused: list[str]) -> str:
    return f"{operation} [{', '.join(fused)}]" if fused else operation


def executed_in_a_process(network: str, form: str) -> ExecutedGraph:
    """Do the same in a process of its own."""
    (line,) = json_lines("tools.deployment.executed", network, form)
    return decode(line, (ExecutedGraph,))


@click.command()
@click.argument("network")
@click.argument("form", type=click.Choice(EXECUTED_FORMS))
def main(network: str, form: str) -> None:
    """Export NETWORK in one FORM and print what its runtime executes."""
    quiet()
    emit(executed_graph(network, form))


if __name__ == "__main__":
    main()
