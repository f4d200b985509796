"""OpenVINO models, a file of operations and one of weights, with one PReLU for each site.

OpenVINO fuses the PReLU into convolutions on CPUs.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.format import Format, Interface, Runner, Settings
from keras_prelu.deployment.lowering import in_float32, lower_model
from keras_prelu.typing import Array

__all__ = ["OpenVino"]


class OpenVino(Format):
    # On PyTorch, Keras traces a batch of one, and the activation remains five operations.
    name, suffix, backends = "openvino", ".xml", ("tensorflow",)
    keeps_half_precision = False

    def packages(self) -> tuple[str, ...]:
        return ("openvino",)

    def parts(self, path: Path) -> tuple[Path, ...]:
        return path.with_suffix(".bin"), path

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        lowered = lower_model(model, settings.samples, settings.prune)
        in_float32(lowered, settings.samples).export(str(path), format="openvino", verbose=False)

    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        import openvino

        # OpenVINO computes in bfloat16 by default if the processor supports it.
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        compiled = openvino.compile_model(path, "CPU", options)
        names = [port.get_any_name() for port in compiled.inputs]

        def run(inputs: Any) -> list[Array]:
            return [
                np.array(output)
                for output in compiled(interface.inputs_by_key(inputs, names)).to_tuple()
            ]

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
