"""What callbacks have counted and remembered since a training began."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.training.checkpoint_file import NotPlainError, encoded

__all__ = ["CallbackStates"]


class CallbackStates:
    """The attributes of callbacks that have changed since this object was made.

    They are what `EarlyStopping` and `ReduceLROnPlateau` wait by, and what callbacks of the user
    count. What has not changed, such as the path of a file, is not restored: it is that of the call
    that resumes. Attributes count that are numbers, strings, None, arrays, and containers of these;
    a callback that defines `__getstate__` chooses among them.

    Args:
        callbacks: Sequence of Keras callbacks, whose `on_train_begin` was called.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        self._callbacks = dict(_by_key(callbacks))
        self._before = {
            key: {name: _digest(value) for name, value in _attributes(callback).items()}
            for key, callback in self._callbacks.items()
        }

    def changed(self) -> dict[str, dict[str, Any]]:
        """Return the attributes that have changed, by callback and name."""
        return {
            key: {
                name: value
                for name, value in _attributes(callback).items()
                if (digest := _digest(value)) is not None
                and digest != self._before[key].get(name, "")
            }
            for key, callback in self._callbacks.items()
        }

    def restore(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the attributes that `changed` returned in an earlier training.

        Callbacks that this training lacks are left out.
        """
        for key, attributes in states.items():
            for name, value in attributes.items() if key in self._callbacks else ():
                _set(self._callbacks[key], name, value)


def _by_key(
    callbacks: Sequence[keras.callbacks.Callback],
) -> Iterator[tuple[str, keras.callbacks.Callback]]:
    """Yield callbacks with their class and their number among those of the same class."""
    counts: dict[str, int] = {}
    for callback in callbacks:
        name = f"{type(callback).__module__}.{type(callback).__qualname__}"
        counts[name] = counts.get(name, -1) + 1
        yield f"{name}:{counts[name]}", callback


def _attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    state = callback.__getstate__()
    return state if isinstance(state, dict) else {}


def _digest(value: Any) -> str | None:
    """Return a digest of a plain value, or None of another one."""
    arrays: dict[str, np.ndarray] = {}
    try:
        text = json.dumps(encoded(value, arrays))
    except (NotPlainError, RecursionError):
        return None
    digest = hashlib.sha256(text.encode())
    for array in arrays.values():
        digest.update(array.data)
    return digest.hexdigest()


def _set(callback: keras.callbacks.Callback, name: str, value: Any) -> None:
    """Set an attribute; a container that others may hold too keeps its identity."""
    present: Any = getattr(callback, name, None)
    if type(present) is not type(value) or not hasattr(present, "clear"):
        setattr(callback, name, value)
        return
    present.clear()
    (present.extend if isinstance(present, (list, deque)) else present.update)(value)
