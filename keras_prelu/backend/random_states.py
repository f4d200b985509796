"""The states of the global random generators of Python, NumPy, Keras and PyTorch.

Random generators that belong to a model, such as those of dropout on TensorFlow and JAX, are
variables of it. TensorFlow's own random ops (`tf.random.uniform`) keep a state that can't be read.
"""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import global_seed_state, set_global_seed_state

__all__ = ["random_states", "set_random_states"]


def random_states() -> dict[str, Any]:
    """Return the states, as numbers, tuples and arrays."""
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "keras": global_seed_state(),
    }
    if keras.backend.backend() == "torch":
        states["torch"] = [state.numpy() for state in _torch_states()]
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Set the states that `random_states` returned, in this process or in another one."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    set_global_seed_state(states["keras"])
    if keras.backend.backend() == "torch":
        _set_torch_states(states["torch"])


def _torch_states() -> list[Any]:
    import torch

    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        devices = [torch.mps.get_rng_state()]
    return [torch.get_rng_state(), *devices]


def _set_torch_states(states: list[np.ndarray]) -> None:
    import torch

    first, *devices = (torch.from_numpy(state) for state in states)
    torch.set_rng_state(first)
    if torch.backends.mps.is_available():
        torch.mps.set_rng_state(devices[0])
    elif torch.cuda.is_available():
        torch.cuda.set_rng_state_all(devices)
