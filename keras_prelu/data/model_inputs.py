"""The inputs of a model, and the structure in which the model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.errors import DataError
from keras_prelu.utils.suggestions import few_of

__all__ = ["InputSignature", "ModelInput"]


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """One input of a model.

    Attributes:
        name: Str. Its name in messages, which is also a key for it in a dict of samples.
        shape: Tuple with the batch axis first. Unknown sizes are None.
        dtype: Str. The type in which the model reads it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class InputSignature:
    """The inputs of a model and the structure in which the model is called with them.

    Attributes:
        inputs: Tuple of `ModelInput`, in the order of the model's inputs.
        structure: Structure of the model's argument, with the position of an input at each leaf.
    """

    inputs: tuple[ModelInput, ...]
    structure: Any

    @property
    def batch_size(self) -> int | None:
        """The number of samples in a batch if the model prescribes it, else None."""
        return self.inputs[0].shape[0]

    def pack(self, arrays: Sequence[Any]) -> Any:
        """Return arrays in the structure in which the model takes them.

        Args:
            arrays: Sequence with an array for each input, in the order of the inputs.
        """
        return keras.tree.map_structure(lambda position: arrays[position], self.structure)

    def unpack(self, x: Any, role: str) -> list[Any]:
        """Return the arrays of a structure in the order of the inputs.

        Args:
            x: Array, or a list or dict of arrays, or the model's own structure of arrays. Keys of a
                dict are those of the model's structure or the names of the inputs; others are left
                out.
            role: Str. Name of the samples in messages.

        Raises:
            DataError: The structure does not fit the model.
        """
        names = [model_input.name for model_input in self.inputs]
        if isinstance(x, Mapping) and not self._has_keys(x):
            missing = [name for name in self._keys() if name not in x]
            by_name = [name for name in names if name not in x]
            if by_name:
                name = (missing or by_name)[0]
                raise DataError(
                    f"The {role} lack the model's input '{name}'. They have: {few_of(list(x))}."
                )
            return [x[name] for name in names]
        arrays: list[Any] = [None] * len(names)
        if len(names) == 1 and not isinstance(x, Mapping):
            return [x[0] if self._is_list_of_one(x) else x]
        try:
            self._collect(self.structure, x, arrays)
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(self._mismatch(x, role)) from error
        return arrays

    def _keys(self) -> list[str]:
        return list(self.structure) if isinstance(self.structure, Mapping) else []

    def _has_keys(self, x: Mapping[str, Any]) -> bool:
        return bool(self._keys()) and all(key in x for key in self._keys())

    def _is_list_of_one(self, x: Any) -> bool:
        """Return whether x is the only input in a list, as Keras also takes it."""
        return (
            isinstance(x, (list, tuple))
            and len(x) == 1
            and np.ndim(x[0]) == len(self.inputs[0].shape)
        )

    def _collect(self, structure: Any, x: Any, arrays: list[Any]) -> None:
        if isinstance(structure, Mapping) and isinstance(x, Mapping):
            for key, part in structure.items():
                self._collect(part, x[key], arrays)
        elif isinstance(structure, (Mapping, list, tuple)):
            if not isinstance(x, (list, tuple)):
                raise TypeError("no list")
            if isinstance(structure, Mapping):
                # Keras flattens a dict in the order of its keys and refuses a list if the model was
                # made with its inputs in another order, since it can't tell which was meant.
                if list(structure) != sorted(structure):
                    raise TypeError("no dict")
                structure = [structure[key] for key in sorted(structure)]
            for part, value in zip(structure, x, strict=True):
                self._collect(part, value, arrays)
        else:
            arrays[structure] = x

    def _mismatch(self, x: Any, role: str) -> str:
        count = len(x) if isinstance(x, (list, tuple)) else 1
        keys = self._keys()
        advice = (
            f"a dict with the keys {', '.join(map(repr, keys))}"
            if keys
            else "a list or a dict of arrays"
        )
        return f"The model has {len(self.inputs)} inputs, the {role} have {count}. Give {advice}."
