"""Gradients of a scalar function of arrays on the active backend, for comparison with
references."""

import keras
import numpy as np

from keras_prelu.backend import autodiff
from tools.bench.memory import kept_by_jax


def gradients(function, *arrays):
    """Return ∂ function(*tensors) / ∂ each array, as NumPy arrays; `function` returns a scalar
    tensor."""
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    return [
        keras.ops.convert_to_numpy(gradient) for gradient in autodiff.gradients(function, tensors)
    ]


def finite_differences(function, *arrays, step=1e-6):
    """Return the central differences, in float64, of a NumPy function that returns a float."""
    results = []
    for position, array in enumerate(arrays):
        gradient = np.zeros_like(array, dtype=np.float64)
        for index in np.ndindex(array.shape):
            values = [np.array(a, dtype=np.float64) for a in arrays]
            values[position][index] += step
            up = function(*values)
            values[position][index] -= 2 * step
            gradient[index] = (up - function(*values)) / (2 * step)
        results.append(gradient)
    return results


def kept_for_backward(function, *arrays):
    """Return the bytes of the tensors that the backward pass of `function(*tensors)` keeps, each
    storage counted once (JAX and PyTorch)."""
    if keras.backend.backend() == "jax":
        return kept_by_jax(function, *arrays)
    import torch

    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function(*(torch.tensor(array, requires_grad=True) for array in arrays))
    return sum(storages.values())
