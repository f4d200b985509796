"""Which of the objects that a layer refers to are copied with it, and which are shared."""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections.abc import Iterator
from enum import Enum
from typing import Any

import numpy as np

__all__ = ["SHARED", "is_copied", "refers_to"]

SHARED = (
    Enum,
    bool,
    bytes,
    complex,
    float,
    int,
    np.dtype,
    np.generic,
    range,
    slice,
    str,
    type,
    type(None),
    types.BuiltinFunctionType,
    types.CodeType,
    types.ModuleType,
)
"""Types of objects that are shared."""
_LIBRARIES = frozenset({"jax", "jaxlib", "numpy", "tensorflow", "torch", *sys.stdlib_module_names})
"""Libraries whose objects are shared."""
_COPIED_OF_BACKENDS = (
    "tensorflow.python.trackable.base.TrackableReference",
    "torch.nn.modules.module.Module",
)
_MOST_REFERENTS = 10_000


def is_copied(value: Any) -> bool:
    """Return whether an object is copied: of Keras's classes, the user's, and some of a backend."""
    classes = [f"{cls.__module__}.{cls.__name__}" for cls in type(value).__mro__]
    is_of_library = classes[0].split(".")[0] in _LIBRARIES
    return not is_of_library or any(name in _COPIED_OF_BACKENDS for name in classes)


def refers_to(value: Any, ids: set[int]) -> bool:
    """Return whether an object refers to one of several others, as far as Python can tell."""
    seen, waiting = {id(value)}, [value]
    while waiting and len(seen) < _MOST_REFERENTS:
        for each in _referents(waiting.pop()):
            if id(each) in ids:
                return True
            if id(each) not in seen and not isinstance(each, SHARED):
                seen.add(id(each))
                waiting.append(each)
    return False


def _referents(value: Any) -> Iterator[Any]:
    if isinstance(value, types.FunctionType):  # Not what its module holds.
        yield from (value.__closure__ or (), value.__defaults__, vars(value))
    elif isinstance(value, weakref.ref):
        yield value()
    else:
        yield from gc.get_referents(value)
