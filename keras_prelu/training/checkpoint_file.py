"""The file that holds the state of a training: plain values and arrays, in one `.npz` archive."""

from __future__ import annotations

import json
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.errors import FileError, FineTuningError
from keras_prelu.io.atomic import atomic_write

__all__ = ["NotPlainError", "StateFile", "decoded", "encoded"]

_SEQUENCES = {cls.__name__: cls for cls in (list, tuple, set, frozenset)}
_MAPPINGS: dict[str, type[dict[Any, Any]]] = {
    cls.__name__: cls for cls in (dict, Counter, OrderedDict)
}
_FACTORIES = {cls.__name__: cls for cls in (int, float, str, list, dict, set)}
"""What a `defaultdict` may make its values with."""


class NotPlainError(TypeError):
    """A value is not one that `encoded` takes."""


@dataclass(frozen=True)
class StateFile:
    """A file with the state of a training, which is replaced atomically.

    Args:
        path: `pathlib.Path` of the file.
        save_freq: Int. Steps from one state that is stored to the next, or None: it is stored
            after each epoch alone. Defaults to None.
        key: Str. Fingerprint of the fine-tuning, which is stored in the file. Defaults to "".
    """

    path: Path
    save_freq: int | None = None
    key: str = ""

    def write(self, state: Mapping[str, Any]) -> None:
        """Write a state: plain values and arrays, in dicts, lists and tuples."""
        arrays: dict[str, np.ndarray] = {}
        text = json.dumps(encoded({"key": self.key, "state": dict(state)}, arrays))
        meta = np.frombuffer(text.encode(), dtype=np.uint8)
        with atomic_write(self.path, overwrite=True) as temporary, open(temporary, "wb") as file:
            # NumPy's stub takes the arrays for the flag `allow_pickle`.
            np.savez(file, meta=meta, **arrays)  # type: ignore[arg-type]

    def read(self) -> dict[str, Any]:
        """Return the state that was written.

        Raises:
            FileError: The file can't be read.
            FineTuningError: It is a checkpoint of another fine-tuning.
        """
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            content = decoded(json.loads(arrays.pop("meta").tobytes()), arrays)
            key, state = content["key"], dict(content["state"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise self.damaged() from error
        if key != self.key:
            raise FineTuningError(
                f"'{self.path}' is a checkpoint of another fine-tuning: other data, models, options"
                " or versions. Remove it to start anew."
            )
        return state

    def damaged(self) -> FileError:
        """Return the error of a file that does not hold what it should."""
        return FileError(f"The checkpoint '{self.path}' can't be read. Remove it to start anew.")


def encoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value for JSON, and put its arrays into a dict, as bytes.

    `.npz` files can't store bfloat16, so arrays are stored as bytes, beside dtype and shape.

    Args:
        value: Plain value, array, function of `keras.ops` (which Keras's callbacks compare by), or
            a dict, list, tuple, set, deque, Counter, OrderedDict or defaultdict of such.
        arrays: Dict to which the arrays are added.

    Raises:
        NotPlainError: The value holds something else.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple, set, frozenset, dict, deque)):
        return _encoded_container(value, arrays)
    if type(value) is np.ndarray or isinstance(value, np.generic):
        if value.dtype.hasobject or value.dtype.names is not None:
            raise NotPlainError(f"An array of {value.dtype}")
        name = f"a{len(arrays)}"
        arrays[name] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        kind = "array" if type(value) is np.ndarray else "number"
        # Types that NumPy does not know, such as bfloat16, are found by their names alone.
        dtype = value.dtype.name if value.dtype.kind == "V" else value.dtype.str
        return {kind: [name, dtype, list(value.shape)]}
    if callable(value) and _op(name := getattr(value, "__name__", "")) is value:
        return {"op": name}
    raise NotPlainError(type(value).__name__)


def _encoded_container(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    kind = type(value).__name__
    if type(value) is _SEQUENCES.get(kind):
        parts = [encoded(each, arrays) for each in value]
        # The order of a set is another one in each process.
        return {kind: sorted(parts, key=json.dumps) if kind.endswith("set") else parts}
    if type(value) is deque:
        return {kind: [value.maxlen, *(encoded(each, arrays) for each in value)]}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"texts": {key: encoded(each, arrays) for key, each in value.items()}}
    items = [[encoded(each, arrays) for each in item] for item in getattr(value, "items", list)()]
    if type(value) is _MAPPINGS.get(kind):
        return {kind: items}
    factory = getattr(getattr(value, "default_factory", None), "__name__", "")
    if type(value) is defaultdict and value.default_factory is _FACTORIES.get(factory):
        return {kind: [factory, *items]}
    raise NotPlainError(kind)


def decoded(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the value that `encoded` was given."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "texts":
        return {key: decoded(each, arrays) for key, each in content.items()}
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](decoded(each, arrays) for each in content)
    if kind == "deque":
        return deque((decoded(each, arrays) for each in content[1:]), content[0])
    if kind in _MAPPINGS or kind == "defaultdict":
        found: dict[Any, Any] = (
            _MAPPINGS[kind]() if kind in _MAPPINGS else defaultdict(_FACTORIES.get(content.pop(0)))
        )
        for item in content:
            key, each = (decoded(part, arrays) for part in item)
            found[key] = each
        return found
    if kind == "op":
        return _op(content)
    name, dtype, shape = content
    array = arrays[name].view(np.dtype(dtype)).reshape(shape)
    return array if kind == "array" else array[()]


def _op(name: str) -> Any:
    return getattr(keras.ops, name, None)
