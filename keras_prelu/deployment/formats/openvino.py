"""OpenVINO models, a file of operations and one of weights.

On CPUs OpenVINO fuses a PReLU into a convolution, which is cheap with one slope, and runs
max(x, a·x) in one pass if the batch has a fixed size.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.formats.base import Format, Interface, Runner, Settings
from keras_prelu.deployment.forms import clamped
from keras_prelu.deployment.lowering import in_float32, lower_model
from keras_prelu.typing import Array

__all__ = ["OpenVino"]


class OpenVino(Format):
    # On PyTorch, Keras traces a batch of one, and the activation remains five operations.
    name, suffix, backends = "openvino", ".xml", ("tensorflow",)
    keeps_half_precision = False

    def packages(self) -> Mapping[str, str]:
        return {"openvino": "'keras-prelu[openvino]'"}

    def parts(self, path: Path) -> tuple[Path, ...]:
        return path.with_suffix(".bin"), path

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        import openvino

        lowered = lower_model(model, settings.samples, settings.prune, clamped)
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/{path.name}"
            in_float32(lowered, settings.samples).export(file, format="openvino", verbose=False)
            converted = openvino.Core().read_model(file)
            _open_the_way_for_strides(converted)
            openvino.save_model(converted, path, compress_to_fp16=False)
            del converted  # It holds the file of weights open.

    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        import openvino

        # OpenVINO computes in bfloat16 by default if the processor supports it.
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        model = openvino.Core().read_model(path)
        names = [port.get_any_name() for port in model.inputs]
        compiled: list[Any] = []

        def run(inputs: Any) -> list[Array]:
            by_name = interface.inputs_by_key(inputs, names)
            if not compiled:
                if threads is not None:
                    model.reshape({name: by_name[name].shape for name in names})
                compiled.append(openvino.compile_model(model, "CPU", options))
            return [np.array(output) for output in compiled[0](by_name).to_tuple()]

        return run

    def runtime(self) -> str:
        import openvino

        return f"OpenVINO {openvino.__version__.split('-')[0]}"

    def operations(self, path: Path) -> dict[str, int]:
        import openvino

        operations = openvino.Core().read_model(path).get_ops()
        kinds = Counter(operation.get_type_name() for operation in operations)
        return {
            kind: count
            for kind, count in kinds.most_common()
            if kind not in ("Constant", "Parameter", "Result")
        }


def _open_the_way_for_strides(model: Any) -> None:
    """Write PReLUs before strided convolutions of one pixel as max(x, a·x), in place.

    OpenVINO computes only the pixels that such convolutions read, but not through a PReLU.
    """
    from openvino import opset13

    for node in model.get_ordered_ops():
        readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
        if node.get_type_name() != "PRelu" or not all(map(_skips_pixels, readers)):
            continue
        inputs, slopes = node.input_value(0), node.input_value(1).get_node()
        channels = inputs.get_partial_shape()[1]
        if slopes.get_type_name() != "Constant" or not channels.is_static:
            continue
        values = np.asarray(slopes.data, np.float32).reshape(-1)
        if (
            len(values) not in (1, channels.get_length())
            or not 0 <= values.min() <= values.max() <= 1
        ):
            continue
        # A single number would become a PReLU again.
        by_channel = np.broadcast_to(values, (channels.get_length(),)).reshape(1, -1, 1, 1)
        scaled = opset13.multiply(inputs, opset13.constant(np.ascontiguousarray(by_channel)))
        largest = opset13.maximum(inputs, scaled, name=node.get_friendly_name())
        node.output(0).replace(largest.output(0))


def _skips_pixels(node: Any) -> bool:
    if node.get_type_name() != "Convolution":
        return False
    kernel = node.input_value(1).get_partial_shape()
    return (
        len(kernel) == 4
        and list(kernel)[2:] == [1, 1]
        and max(node.get_attributes()["strides"]) > 1
    )
