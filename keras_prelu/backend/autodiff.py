"""Gradients on TensorFlow, JAX and PyTorch: custom gradients, and the gradient of a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_prelu.backend.gradients import differentiating_on_torch
from keras_prelu.errors import ConversionError
from keras_prelu.typing import Tensor

Tensors = tuple[Tensor, ...]
Forward = Callable[..., Tensor]
Residuals = Callable[[Tensors, Tensor], Tensors]
Backward = Callable[[Tensors, Tensor], Tensors]


def with_gradient(
    forward: Forward,
    residuals: Residuals,
    backward: Backward,
) -> Callable[..., Tensor]:
    """Return a function of tensors with a hand-written gradient, on the active backend.

    `keras.ops.custom_gradient` is not used because on PyTorch it always keeps every input for the
    backward pass and swallows exceptions of the forward pass. The three backends' own mechanisms
    let `residuals` decide what is stored, and compose with `jax.vmap`, `jax.checkpoint`,
    `torch.func` and second derivatives.

    Args:
        forward: Callable. `forward(*inputs) -> output`, written in `keras.ops`.
        residuals: Callable. `residuals(inputs, output) -> tensors`, the tensors that the backward
            pass needs.
        backward: Callable. `backward(residuals, upstream) -> gradients`, one gradient for each
            input, written in `keras.ops`.

    Returns:
        A function of tensors.

    Raises:
        NotImplementedError: The active backend is not TensorFlow, JAX or PyTorch.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow_with_gradient(forward, residuals, backward)
    if backend == "jax":
        return _jax_with_gradient(forward, residuals, backward)
    if backend == "torch":
        return _torch_with_gradient(forward, residuals, backward)
    raise NotImplementedError(
        f"keras_prelu needs gradients, which the backend {backend!r} doesn't have. Use tensorflow,"
        " jax or torch."
    )


def _tensorflow_with_gradient(
    forward: Forward, residuals: Residuals, backward: Backward
) -> Forward:
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def function(*inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensors]]:
        output = forward(*inputs)
        saved = residuals(inputs, output)

        def gradient(upstream: Tensor) -> Tensors:
            return backward(saved, upstream)

        return output, gradient

    # `keras.ops.convert_to_tensor` returns a variable unchanged, and a custom gradient must not
    # receive one.
    return lambda *inputs: function(*(tf.convert_to_tensor(x) for x in inputs))


def _jax_with_gradient(forward: Forward, residuals: Residuals, backward: Backward) -> Forward:
    import jax

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def function(*inputs: Tensor) -> Tensor:
        return forward(*inputs)

    def forward_and_keep(*inputs: Tensor) -> tuple[Tensor, Tensors]:
        output = forward(*inputs)
        return output, residuals(inputs, output)

    function.defvjp(forward_and_keep, backward)
    return function


def _torch_with_gradient(forward: Forward, residuals: Residuals, backward: Backward) -> Forward:
    import torch

    class Function(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*inputs: Tensor) -> Tensor:
            return forward(*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: Tensors, output: Tensor) -> None:
            ctx.save_for_backward(*residuals(inputs, output))

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> Tensors:
            return backward(ctx.saved_tensors, upstream)

    return Function.apply


def gradients(function: Callable[..., Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the derivatives of a scalar function of tensors with respect to each tensor.

    Args:
        function: Callable. Takes tensors and returns a scalar tensor. It is called once, so it may
            have side effects.
        tensors: Sequence of tensors.

    Raises:
        ConversionError: The backend can't differentiate the function.
    """
    if not tensors:
        return []  # PyTorch and JAX refuse to differentiate by nothing.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(tensors)
            value = function(*tensors)
        return list(tape.gradient(value, list(tensors), unconnected_gradients="zero"))
    if keras.backend.backend() == "jax":
        import jax

        try:
            return list(jax.grad(function, argnums=tuple(range(len(tensors))))(*tensors))
        except ValueError as error:
            if "Reverse-mode differentiation" not in str(error):
                raise
            raise ConversionError(
                "The model has no gradients on JAX, which can't differentiate keras.ops.while_loop"
                " or a fori_loop with bounds that are tensors. Use a fori_loop with fixed bounds,"
                " or another backend."
            ) from error
    import torch

    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    try:
        with differentiating_on_torch():
            value = function(*leaves)
            return list(
                torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
            )
    except RuntimeError as error:
        if "Can't call numpy() on Tensor that requires grad" not in str(error):
            raise
        raise ConversionError(
            "The model has no gradients on PyTorch, because the code of one of its layers converts"
            f" a tensor to a NumPy array{_where(error)}. Compute with keras.ops there."
        ) from error


def _where(error: Exception) -> str:
    """Return the call that Keras names in an exception, after a comma, or ""."""
    named = re.search(r"when calling (\w+\.call\(\))", str(error))
    return f", in {named[1]}" if named else ""
