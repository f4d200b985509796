"""What a rewriting copied, and the state that the copies get from the originals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.ties import VariableCopies, refuse_functions_of_model
from keras_prelu.custom_layers.converted_layer import freeze_like, prelus
from keras_prelu.graph.rebuilding import (
    check_variables,
    copy_other_state,
    copy_variables,
    variables_apart_from,
)

__all__ = ["Copied", "Copies", "Exchanged", "Inserted"]


@dataclass(frozen=True)
class Copied:
    """A layer, op or model, and its copy."""

    original: Any
    copy: Any


@dataclass(frozen=True)
class Inserted:
    """A new layer, and the operation that it replaces or whose activation it replaces."""

    operation: Any
    layer: Any


@dataclass(frozen=True)
class Exchanged:
    """PReLU layers of a converted layer that its copy does not have, and new ones of the copy.

    Attributes:
        removed: List of `PReLU`.
        added: List of `PReLU`.
        are_trainable: List of booleans. The flags of the new ones; empty if they are to be those of
            the rectifiers that they replace.
    """

    removed: list[Any]
    added: list[Any]
    are_trainable: list[bool]

    @property
    def layer_ids(self) -> frozenset[int]:
        return frozenset(id(layer) for layer in (*self.removed, *self.added))

    @property
    def variable_ids(self) -> frozenset[int]:
        layers = (*self.removed, *self.added)
        return frozenset(id(variable) for layer in layers for variable in layer.variables)


class Copies:
    """The layers and models of a model, each with its copy, and what was exchanged.

    Attributes:
        models: Dict from id of the original to `Copied`. Models taken apart, outer ones first.
        leaves: Dict from id of the original to `Copied`. Layers and ops copied as they are.
        inserted: List of `Inserted`. The new layers.
        replaced: List of layers and ops that the copy does not have.
        exchanged: Dict from id of the original layer to `Exchanged`.
    """

    def __init__(self) -> None:
        self.models: dict[int, Copied] = {}
        self.leaves: dict[int, Copied] = {}
        self.inserted: list[Inserted] = []
        self.replaced: list[Any] = []
        self.exchanged: dict[int, Exchanged] = {}

    def check_variables(self, original: Any, copy: Any) -> None:
        """Check that a layer and its copy have the same variables, but for exchanged PReLU layers.

        Raises:
            ConversionError: They have not.
        """
        check_variables(original, copy, self.exchange_of(original, copy).variable_ids)

    def copy_state(self, model: keras.Model) -> None:
        """Copy weights, other state and `trainable` flags, and check what is shared.

        Args:
            model: `keras.Model`. The model that was copied.

        Raises:
            ConversionError: The copy does not share variables as the model does.
        """
        # Models come first, since setting a model's flag also sets the flags of its layers; and of
        # these the outer ones.
        for copied in sorted(self.models.values(), key=_depth):
            copied.copy.trainable = copied.original.trainable
        for copied in self.leaves.values():
            if isinstance(copied.original, keras.layers.Layer):
                self._copy_layer_state(copied.original, copied.copy)
        for inserted in self.inserted:
            inserted.layer.trainable = getattr(inserted.operation, "trainable", True)
        self._check_ties(model)

    def _check_ties(self, model: keras.Model) -> None:
        layers = [
            (copied.original, copied.copy)
            for copied in self.leaves.values()
            if isinstance(copied.original, keras.layers.Layer)
        ]
        copies = VariableCopies()
        for original, copy in layers:
            copies.add(original, *self.variables(original, copy))
        copies.refuse_replaced(self.replaced)
        refuse_functions_of_model(model, layers)

    def variables(self, original: Any, copy: Any) -> tuple[list[Any], list[Any]]:
        """Return the variables of a layer, and those of its copy in the same order."""
        apart = self.exchange_of(original, copy).variable_ids
        return variables_apart_from(apart, original), variables_apart_from(apart, copy)

    def _copy_layer_state(self, original: Any, copy: Any) -> None:
        exchanged = self.exchange_of(original, copy)
        unmatched = exchanged.layer_ids
        unmatched_variables = exchanged.variable_ids
        check_variables(original, copy, unmatched_variables)
        inner, inner_copies = (
            [layer for layer in sublayers(outer) if id(layer) not in unmatched]
            for outer in (original, copy)
        )
        pairs = [
            Copied(original=original, copy=copy),
            *(
                Copied(original=one, copy=other)
                for one, other in zip(inner, inner_copies, strict=False)
            ),
        ]
        for pair in pairs:
            copy_other_state(pair.original, pair.copy)
        # Variables come last, since loading other state may recompute some of them, and all have to
        # be bit-identical; and since the flag of a layer sets those of its variables.
        for pair in pairs:
            pair.copy.trainable = pair.original.trainable
        copy_variables(original, copy, unmatched_variables)
        if exchanged.are_trainable:
            for layer, is_trainable in zip(exchanged.added, exchanged.are_trainable, strict=True):
                layer.trainable = is_trainable
        elif exchanged.added:
            freeze_like(copy, original)

    def exchange_of(self, original: Any, copy: Any) -> Exchanged:
        """Return which PReLU layers only one of a layer and its copy has."""
        if id(original) in self.exchanged:
            return self.exchanged[id(original)]
        added = prelus(copy)[len(prelus(original)) :]
        return Exchanged(removed=[], added=added, are_trainable=[])


def _depth(copied: Copied) -> int:
    """Return a number by which models come before those inside them."""
    return -len(sublayers(copied.original))
