"""Digest of arbitrary Python objects that is the same in every process.

`pickle` can't serve: it refuses closures, writes functions of importable modules by name alone, and
its bytes depend on hash seeds. `repr` holds addresses. Here a function is represented by its
bytecode and by the values that it refers to, an object by its class and its configuration.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import optimizer_config, optimizer_map

__all__ = ["object_digest"]

_INSTALLED = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib", "stdlib")
)
_WITH_ATTRIBUTES = (
    keras.constraints.Constraint,
    keras.losses.Loss,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.regularizers.Regularizer,
)
"""Objects that count with their attributes too."""
_OF_OPTIMIZERS = (keras.optimizers.Optimizer, keras.optimizers.schedules.LearningRateSchedule)
_DEFAULT_REDUCTION: tuple[Any, Any] = (object.__reduce_ex__, object.__reduce__)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range, slice)


def object_digest(value: Any) -> str:
    """Return a digest of an object that is the same in every process.

    - Plain values count with type and value; containers with all that they hold; arrays, tensors
      and variables with dtype, shape and content.
    - A Keras object counts with its configuration, a model or layer with its weights as well, a
      loss, regularizer, constraint or schedule with its attributes. Names that Keras numbers by
      order of creation ("dense_3") count without the number.
    - A function of the user counts with its bytecode, defaults, closure and the globals that it
      names; a class of the user with its attributes. Functions and classes of installed packages
      count with their names and the package's version.
    - A module of the user counts with its code.
    - Any other object counts with its class, its attributes, and what `pickle` would store of it
      besides, if it can be pickled.

    Args:
        value: Any object.

    Returns:
        Str of 64 hexadecimal digits.
    """
    return _Digester().digest(value).hex()


class _Digester:
    """Digests of objects, each computed once."""

    def __init__(self) -> None:
        self._digests: dict[int, bytes] = {}
        # Objects are kept alive, so that no other object gets the identity of a known one.
        self._alive: list[Any] = []

    def digest(self, value: Any) -> bytes:
        key = id(value)
        if key not in self._digests:
            self._digests[key] = b"recursion"
            self._alive.append(value)
            heading, parts = _description(value)
            result = hashlib.sha256(heading)
            for part in parts:
                # The content of an array is hashed where it is, without a copy.
                result.update(part if isinstance(part, memoryview) else self.digest(part))
            self._digests[key] = result.digest()
        return self._digests[key]


_Description = tuple[bytes, Iterable[Any]]
"""What an object is, and the objects that it consists of."""


def _description(value: Any) -> _Description:
    if isinstance(value, np.ndarray):
        return _describe_array(value)
    if keras.ops.is_tensor(value) or isinstance(value, keras.Variable):
        return _describe_array(keras.ops.convert_to_numpy(value))
    if isinstance(value, np.generic) or type(value) in _PLAIN:
        return f"{type(value).__name__} {value!r}".encode(), ()
    if isinstance(value, Mapping):
        return b"mapping", [part for item in value.items() for part in item]
    if isinstance(value, Set):
        return b"set", sorted(object_digest(item) for item in value)
    if isinstance(value, (Sequence, bytearray)):
        return f"{type(value).__name__} {len(value)}".encode(), value
    if isinstance(value, type):
        return _describe_class(value)
    if isinstance(value, types.FunctionType):
        return _describe_function(value)
    if isinstance(value, types.CodeType):
        # Line numbers and file names are left out: they change nothing in the result.
        return b"code" + value.co_code, (value.co_names, value.co_varnames, value.co_consts)
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        bound = None if isinstance(owner, types.ModuleType) else owner
        return b"builtin", (value.__module__, value.__qualname__, bound)
    if isinstance(value, types.MethodType):
        return b"method", (value.__self__, value.__func__)
    if isinstance(value, functools.partial):
        return b"partial", (value.func, value.args, value.keywords)
    if isinstance(value, types.ModuleType):
        return b"module", (_versioned(value.__name__), _code_of_module(value))
    if isinstance(value, property):
        return b"property", (value.fget, value.fset)
    return _describe_instance(value)


def _describe_array(array: np.ndarray) -> _Description:
    heading = f"array {array.dtype} {array.shape}".encode()
    if array.dtype.hasobject:
        return heading, array.reshape(-1).tolist()
    return heading, [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data]


def _describe_function(function: types.FunctionType) -> _Description:
    if _is_installed(function.__module__):
        return b"installed", (_versioned(function.__module__), function.__qualname__)
    cells = [cell for cell in function.__closure__ or () if not _is_empty(cell)]
    names = sorted(_global_names(function.__code__) & function.__globals__.keys())
    return b"function", (
        function.__code__,
        function.__defaults__,
        function.__kwdefaults__,
        [cell.cell_contents for cell in cells],
        {name: function.__globals__[name] for name in names},
    )


def _describe_class(kind: type) -> _Description:
    if _is_installed(kind.__module__):
        return b"installed", (_versioned(kind.__module__), kind.__qualname__)
    attributes = {
        name: getattr(value, "__func__", value)
        for name, value in sorted(vars(kind).items())
        if isinstance(value, types.FunctionType) or not name.startswith(("__", "_abc_"))
    }
    return b"class", (kind.__bases__, attributes)


def _describe_instance(value: Any) -> _Description:
    parts = [type(value), _configuration(value)]
    if isinstance(value, _WITH_ATTRIBUTES):
        # Configurations may be incomplete: that of Keras's Huber is without `delta`.
        parts.append({name: item for name, item in vars(value).items() if name != "name"})
    if isinstance(value, keras.optimizers.Optimizer):
        # A configuration describes the class of a schedule by its name.
        parts.append([item for item in vars(value).values() if isinstance(item, _OF_OPTIMIZERS)])
    if isinstance(value, keras.layers.Layer):
        parts.append([keras.ops.convert_to_numpy(variable) for variable in value.weights])
    return b"instance", parts


def _configuration(value: Any) -> dict[str, Any]:
    """Return what distinguishes an object from others of its class."""
    if hasattr(value, "get_config"):
        try:
            is_optimizer = isinstance(value, keras.optimizers.Optimizer)
            config = _config_of_optimizer(value) if is_optimizer else value.get_config()
            return without_automatic_names(config)
        except Exception:
            # A get_config of the user may fail in any way; the attributes serve then.
            pass
    attributes = getattr(value, "__dict__", {})
    is_layer = isinstance(value, keras.layers.Layer)
    is_named = is_layer or isinstance(value, keras.optimizers.Optimizer)
    if not is_named and not isinstance(value, _WITH_ATTRIBUTES):
        attributes = {**attributes, "__state__": _hidden_state(value)}
    # The private attributes of a layer are Keras's own, and some hold automatic names.
    return {
        name: item
        for name, item in attributes.items()
        if not (is_layer and name.startswith("_")) and not (is_named and name == "name")
    }


def _hidden_state(value: Any) -> Any:
    """Return what an object holds besides its attributes, such as in slots or in C.

    It is what `pickle` would store, and None for an object that can't be pickled.
    """
    kind = type(value)
    reduce = copyreg.dispatch_table.get(kind)
    if reduce is None and (kind.__reduce_ex__, kind.__reduce__) == _DEFAULT_REDUCTION:
        names = [name for base in kind.__mro__ for name in _slots(base)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)} or None
    try:
        reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
    except Exception:
        return None
    if isinstance(reduced, str):
        return reduced
    arguments, state, items, pairs = (*reduced[1:], None, None, None)[:4]
    return arguments, state, *(None if each is None else list(each) for each in (items, pairs))


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _code_of_module(module: types.ModuleType) -> Any:
    """Return the code of a module of the user's, which functions may name."""
    file = getattr(module, "__file__", None)
    if _is_installed(module.__name__) or not str(file).endswith(".py"):
        return None
    try:
        return compile(Path(str(file)).read_text(encoding="utf-8"), "", "exec")
    except (OSError, ValueError, SyntaxError):
        return None


def _config_of_optimizer(optimizer: Any) -> dict[str, Any]:
    """Return a configuration that holds schedules and inner optimizers, which may have none, as
    they are, or leaves them out."""
    mapping = optimizer_map(optimizer)
    if isinstance(mapping, keras.optimizers.OptimizerMap):
        by_pattern = {pattern: mapping[pattern] for pattern in mapping}
        return {"default": mapping.default_optimizer, "by_pattern": by_pattern}
    is_wrapper = hasattr(optimizer, "inner_optimizer")
    stand_ins = {"inner_optimizer": keras.optimizers.SGD()} if is_wrapper else {}
    return optimizer_config(optimizer, **stand_ins)


def without_automatic_names(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which each name is replaced by its position among the names.

    Keras numbers names by order of creation, so that the same code gives other names in another
    process.
    """
    positions: dict[str, str] = {}

    def replaced(item: Any) -> Any:
        if isinstance(item, dict):
            return {
                key: position(value)
                if key == "name" and isinstance(value, str)
                else replaced(value)
                for key, value in item.items()
            }
        if _is_reference(item):
            return [position(item[0]), *map(replaced, item[1:])]
        if isinstance(item, (list, tuple)):
            return [replaced(element) for element in item]
        return item

    def position(name: str) -> str:
        return positions.setdefault(name, f"#{len(positions)}")

    result: dict[str, Any] = replaced(config)
    return result


def _is_reference(item: Any) -> bool:
    """Return whether an item of a configuration refers to a call of a layer by its name."""
    return (
        isinstance(item, (list, tuple))
        and len(item) >= 3
        and isinstance(item[0], str)
        and all(isinstance(element, int) for element in item[1:3])
    )


def _is_installed(module_name: str | None) -> bool:
    """Return whether a module belongs to Python or to an installed package."""
    root = (module_name or "").split(".")[0]
    if root in sys.stdlib_module_names and root != "__main__":
        return True
    file = getattr(sys.modules.get(root), "__file__", None)
    return file is not None and str(Path(file).resolve()).startswith(_INSTALLED)


def _versioned(module_name: str) -> str:
    root = sys.modules.get(module_name.split(".")[0])
    return f"{module_name} {getattr(root, '__version__', '')}"


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises here
    except ValueError:
        return True
    return False


def _global_names(code: types.CodeType) -> set[str]:
    """Return the names that a function and the functions inside it may look up as globals."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names
