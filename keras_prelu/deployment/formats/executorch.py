"""ExecuTorch programs, PyTorch's format for phones and embedded devices.

A program takes one sample at a time, since its memory is planned when it is written. XNNPACK,
ExecuTorch's library for CPUs, takes over all operations that it has: whole networks, as a rule.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.formats.base import (
    Format,
    Interface,
    Runner,
    Settings,
    one_by_one,
)
from keras_prelu.deployment.formats.torch_tracing import check_sizes, traced_on_one
from keras_prelu.deployment.forms import largest_of_two
from keras_prelu.deployment.lowering import in_float32, lower_model
from keras_prelu.typing import Array

__all__ = ["ExecuTorch"]


class ExecuTorch(Format):
    name, suffix, backends = "executorch", ".pte", ("torch",)
    keeps_half_precision = False
    takes_threads = False

    def packages(self) -> Mapping[str, str]:
        return {"executorch": "'keras-prelu[executorch]'"}

    def write(self, model: keras.Model, path: Path, settings: Settings) -> None:
        check_sizes(model, "An ExecuTorch program")
        lowered = lower_model(model, settings.samples, settings.prune, largest_of_two)
        program = traced_on_one(in_float32(lowered, settings.samples), settings.samples)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, about its own code.
            path.write_bytes(_compiled(program))

    def load(self, path: Path, interface: Interface, threads: int | None = None) -> Runner:
        import torch
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(path).load_method("forward")

        def run(inputs: Any) -> list[Array]:
            tensors = [torch.from_numpy(np.asarray(array)) for array in keras.tree.flatten(inputs)]
            return [output.numpy() for output in method.execute(tensors)]

        return one_by_one(run)

    def runtime(self) -> str:
        from importlib.metadata import version

        return f"ExecuTorch {version('executorch')}"

    def operations(self, path: Path) -> dict[str, int]:
        # There is no public list of a program's operations.
        from executorch.exir._serialize import _deserialize_pte_binary

        plan = _deserialize_pte_binary(path.read_bytes()).program.execution_plan[0]
        kinds: Counter[str] = Counter()
        for instruction in plan.chains[0].instructions:
            call: Any = instruction.instr_args
            if hasattr(call, "delegate_index"):
                kinds[plan.delegates[call.delegate_index].id] += 1
            elif hasattr(call, "op_index"):
                kinds[plan.operators[call.op_index].name.removeprefix("aten::")] += 1
        return dict(kinds.most_common())


def _compiled(program: Any) -> bytes:
    """Return an exported program as a file's content."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass

    # Keras transposes kernels at each call, and XNNPACK takes constant ones.
    program = constant_prop_pass(program)
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    content: bytes = edge.to_executorch().buffer
    return content
