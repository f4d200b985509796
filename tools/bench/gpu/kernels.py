"""Ways in which each backend runs a layer many times over several buffers: `Kernel` is one of
them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras

from keras_prelu.backend.devices import gpu
from tools.bench.gpu.device import wait
from tools.bench.memory import kept_by_jax
from tools.common.machine import backend

Tensor = Any
Run = Callable[[], object]
FORWARD, BOTH, COPY = "forward", "forward + backward", "copy"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """One buffer of inputs: x, and the gradient of the output."""

    x: Tensor
    upstream: Tensor


class Kernel(Protocol):
    """A way to run a layer."""

    name: str

    def repeated(
        self, work: str, layer: keras.layers.Layer, inputs: Sequence[Inputs], calls: int
    ) -> Run:
        """Return a function that does `work` so many times, with each of the inputs in turn, and
        returns when the device is done."""

    def peak_bytes(self, work: str, layer: keras.layers.Layer, inputs: Inputs) -> int | None:
        """Return the most device memory of doing `work` once, including the inputs."""

    def residual_bytes(self, layer: keras.layers.Layer, inputs: Inputs) -> int:
        """Return the bytes that the forward pass keeps for the backward pass."""


def kernels() -> dict[str, Kernel]:
    """Return the active backend's kernels by name."""
    found: list[Kernel] = [Jit()] if backend() == "jax" else [Eager(), Graph(), Compiled()]
    return {kernel.name: kernel for kernel in found}


class Jit:
    """One program for each, compiled by XLA, which may read x once for both passes."""

    name = "jit"

    def __init__(self) -> None:
        self._programs: dict[tuple, Any] = {}

    def repeated(
        self, work: str, layer: keras.layers.Layer, inputs: Sequence[Inputs], calls: int
    ) -> Run:
        import jax

        step, arguments = (
            self._program(work, layer, inputs[0]),
            [self._arguments(layer, item) for item in inputs],
        )

        def run() -> None:
            result = None
            for number in range(calls):
                result = step(*arguments[number % len(arguments)])
            jax.block_until_ready(result)

        return run

    def peak_bytes(self, work: str, layer: keras.layers.Layer, inputs: Inputs) -> int | None:
        return program_bytes(self._program(work, layer, inputs))

    def residual_bytes(self, layer: keras.layers.Layer, inputs: Inputs) -> int:
        variables, x, _ = self._arguments(layer, inputs)
        return kept_by_jax(lambda variables, x: _stateless(layer, variables, x), variables, x)

    def _arguments(self, layer: keras.layers.Layer, inputs: Inputs) -> tuple:
        return [variable.value for variable in layer.trainable_variables], inputs.x, inputs.upstream

    def _program(self, work: str, layer: keras.layers.Layer, inputs: Inputs) -> Any:
        import jax

        def forward(variables, x):
            return _stateless(layer, variables, x)

        def both(variables, x, upstream):
            y, pullback = jax.vjp(forward, variables, x)
            return y, pullback(upstream)

        functions = {
            FORWARD: lambda variables, x, upstream: forward(variables, x),
            BOTH: both,
            COPY: lambda variables, x, upstream: -x,
        }
        key = (work, layer, inputs.x.shape)
        if key not in self._programs:
            self._programs[key] = (
                jax.jit(functions[work]).lower(*self._arguments(layer, inputs)).compile()
            )
        return self._programs[key]


def _stateless(layer: keras.layers.Layer, variables: Sequence[Tensor], x: Tensor) -> Tensor:
    """Call a layer with values in place of its variables. `stateless_call` would not cast them to
    the layer's compute dtype."""
    with keras.StatelessScope(
        state_mapping=list(zip(layer.trainable_variables, variables, strict=True))
    ):
        return layer(x)


def program_bytes(compiled: Any) -> int | None:
    """Return the bytes that a program of XLA takes on its device: arguments, results and
    temporaries, each counted once."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    return int(
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
        - found.alias_size_in_bytes
    )


class Eager:
    """Operation by operation; the host goes ahead of the device where it can."""

    name = "eager"

    def repeated(
        self, work: str, layer: keras.layers.Layer, inputs: Sequence[Inputs], calls: int
    ) -> Run:
        once = self._once(work, layer, inputs)

        def run() -> None:
            for number in range(calls):
                once(number % len(inputs))
            wait()

        return run

    def peak_bytes(self, work: str, layer: keras.layers.Layer, inputs: Inputs) -> int | None:
        import torch

        if not gpu():
            return None
        once = self._once(work, layer, [inputs])
        once(0)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        once(0)
        own = inputs.x.numel() * inputs.x.element_size() * (2 if work == BOTH else 1)
        return int(torch.cuda.max_memory_allocated()) - before + own

    def residual_bytes(self, layer: keras.layers.Layer, inputs: Inputs) -> int:
        import torch

        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = self._wrapped(layer)(inputs.x.detach().requires_grad_())
        del output
        return sum(kept.values())

    def waits(self, layer: keras.layers.Layer, inputs: Inputs) -> int:
        """Return how often a forward and backward pass makes the host wait for the device."""
        import torch

        once = self._once(BOTH, layer, [inputs])
        once(0)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                once(0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(item.message) for item in found)

    def _wrapped(self, layer: keras.layers.Layer) -> Callable[[Tensor], Tensor]:
        return layer

    def _once(
        self, work: str, layer: keras.layers.Layer, inputs: Sequence[Inputs]
    ) -> Callable[[int], object]:
        """Return a function of the index of the inputs that launches the work without waiting for
        its end."""
        import torch

        call = self._wrapped(layer)
        leaves = [item.x.detach().requires_grad_(work == BOTH) for item in inputs]
        variables = [variable.value for variable in layer.trainable_variables]

        def forward(number: int) -> object:
            with torch.no_grad():
                return call(leaves[number])

        def both(number: int) -> object:
            return torch.autograd.grad(
                call(leaves[number]), [leaves[number], *variables], inputs[number].upstream
            )

        def copy(number: int) -> object:
            with torch.no_grad():
                return torch.neg(leaves[number])

        return {FORWARD: forward, BOTH: both, COPY: copy}[work]


class Graph(Eager):
    """What eager PyTorch runs, captured as one CUDA graph: the device's time without the host's."""

    name = "graph"

    def repeated(
        self, work: str, layer: keras.layers.Layer, inputs: Sequence[Inputs], calls: int
    ) -> Run:
        import torch

        once, stream, graph = (
            self._once(work, layer, inputs),
            torch.cuda.Stream(),
            torch.cuda.CUDAGraph(),
        )
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                once(0)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            for number in range(calls):
                once(number % len(inputs))

        def run() -> None:
            graph.replay()
            wait()

        return run


class Compiled(Eager):
    """torch.compile, with Triton on a GPU."""

    name = "compile"

    def _wrapped(self, layer: keras.layers.Layer) -> Callable[[Tensor], Tensor]:
        import torch

        # All layers run through one function of Keras. By default torch.compile compiles 8 versions
        # of a function and then runs it eagerly.
        torch._dynamo.config.recompile_limit = 256
        return torch.compile(layer, dynamic=False)
