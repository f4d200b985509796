"""The ways in which each backend can run a layer: a name, and a function that runs it forward and
backward in that way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

Step = Callable[[], object]


@dataclass(frozen=True)
class Mode:
    """How a backend runs things.

    Attributes:
        name: As the results call it.
        compile_options: What `model.compile` takes for it.
        activation: `activation(layer, x, upstream) -> step` that runs the layer forward and
            backward and waits for the end.
        forward: `forward(function, x) -> step` for a function of one tensor, forward only.
    """

    name: str
    compile_options: dict[str, object]
    activation: Callable[[keras.layers.Layer, np.ndarray, np.ndarray], Step]
    forward: Callable[[Callable, np.ndarray], Step]


def modes() -> tuple[Mode, ...]:
    """The active backend's modes."""
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]()


def _tensorflow() -> tuple[Mode, ...]:
    import tensorflow as tf

    def wrapped(**options):
        wrap = (
            (lambda f: f)
            if options.get("eager")
            else (lambda f: tf.function(f, jit_compile=options["jit_compile"] or None))
        )

        def activation(layer, x, upstream):
            x, upstream = tf.cast(x, layer.compute_dtype), tf.cast(upstream, layer.compute_dtype)

            @wrap
            def step(x, upstream):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = layer(x)
                return y, tape.gradient(
                    y, [x, *layer.trainable_variables], output_gradients=upstream
                )

            return lambda: _read(step(x, upstream)[0])

        def forward(function, x):
            x, run = tf.constant(x), wrap(function)
            return lambda: _read(run(x))

        return activation, forward

    def _read(tensor):
        tensor[(0,) * tensor.shape.rank].numpy()  # waits on a GPU; costs the same for all

    return (
        Mode("graph", {"jit_compile": False}, *wrapped(jit_compile=False)),
        Mode("XLA", {"jit_compile": True}, *wrapped(jit_compile=True)),
        Mode("eager", {"run_eagerly": True, "jit_compile": False}, *wrapped(eager=True)),
    )


def _jax() -> tuple[Mode, ...]:
    import jax

    def activation(layer, x, upstream):
        x, upstream = (jax.numpy.asarray(array, layer.compute_dtype) for array in (x, upstream))
        variables = [variable.value for variable in layer.trainable_variables]

        @jax.jit
        def step(variables, x, upstream):
            y, pullback = jax.vjp(
                lambda variables, x: layer.stateless_call(variables, [], x)[0], variables, x
            )
            return y, pullback(upstream)

        return lambda: jax.block_until_ready(step(variables, x, upstream))

    def forward(function, x):
        x, run = jax.numpy.asarray(x), jax.jit(function)
        return lambda: jax.block_until_ready(run(x))

    return (Mode("jit", {"jit_compile": True}, activation, forward),)


def _torch() -> tuple[Mode, ...]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def wrapped(wrap):
        def activation(layer, x, upstream):
            dtype = getattr(torch, layer.compute_dtype)
            x = torch.tensor(x, device=device, dtype=dtype, requires_grad=True)
            upstream = torch.tensor(upstream, device=device, dtype=dtype)
            inputs = [x, *(variable.value for variable in layer.trainable_variables)]
            run = wrap(layer)

            def step():
                torch.autograd.grad(run(x), inputs, upstream)
                wait()

            return step

        def forward(function, x):
            x, run = torch.tensor(x, device=device), wrap(function)

            def step():
                with torch.no_grad():
                    run(x)
                wait()

            return step

        return activation, forward

    return (
        Mode("eager", {"jit_compile": False}, *wrapped(lambda function: function)),
        Mode(
            "compile",
            {"jit_compile": True},
            *wrapped(lambda function: torch.compile(function, dynamic=False)),
        ),
    )
