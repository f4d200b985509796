"""PyTorch's exported programs, with an open batch size.

Activations are several operations of ATen, which compilers fuse.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.formats.base import Format, Interface, Runner, Settings
from keras_prelu.deployment.lowering import lower_model
from keras_prelu.errors import ExportError
from keras_prelu.typing import Array
from keras_prelu.utils.versions import version_key

__all__ = ["TorchProgram"]

_SINCE = "3.15"
"""The first version of Keras that exports them."""


class TorchProgram(Format):
    name, suffix, backends = "torch", ".pt2", ("torch",)
    takes_threads = False

    def check(self) -> None:
        super().check()
        if version_key(keras.version()) < version_key(_SINCE):
            raise ExportError(
                f"The format {self.name} needs Keras {_SINCE}, and this is {keras.version()}: pip"
                " install --upgrade keras."
            )

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        import torch

        batch = torch.export.Dim("batch", min=1)
        axes = keras.tree.map_structure(lambda _: {0: batch}, settings.samples)
        lower_model(model, settings.samples, settings.prune).export(
            path, format="torch", verbose=False, dynamic_shapes=[(axes,)]
        )

    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        import torch

        program = torch.export.load(path).module()

        def as_tensor(array: Any) -> Any:
            return torch.from_numpy(np.asarray(array))

        def run(inputs: Any) -> list[Array]:
            with torch.inference_mode():
                outputs = program(keras.tree.map_structure(as_tensor, inputs))
            return [tensor.numpy() for tensor in keras.tree.flatten(outputs)]

        return run

    def runtime(self) -> str:
        import torch

        return f"PyTorch {torch.__version__}"

    def operations(self, path: Path) -> dict[str, int]:
        import torch

        kinds = Counter(
            node.target.name().removeprefix("aten::")
            for node in torch.export.load(path).graph.nodes
            if node.op == "call_function"
        )
        return {
            kind: count for kind, count in kinds.most_common() if not kind.startswith("_assert")
        }
