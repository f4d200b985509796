"""Holding something else in a place, for a while or for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from keras_prelu.surgery.places import Place

__all__ = ["replace", "replaced"]

_ABSENT = object()


@contextmanager
def replaced(replacements: Sequence[tuple[Place, Any]]) -> Iterator[None]:
    """Hold other values in the places meanwhile."""
    undo = [replace(place, value) for place, value in replacements]
    try:
        yield
    finally:
        for step in reversed(undo):
            step()


def replace(place: Place, value: Any) -> Callable[[], None]:
    """Put a value into a place; the function that is returned puts the old one back.

    Straight into the object's dictionary: the state that Keras, TensorFlow and PyTorch track stays what it was.
    """
    attributes = vars(place.owner)
    old = attributes.get(place.attribute, _ABSENT)
    attributes[place.attribute] = value

    def undo() -> None:
        if old is _ABSENT:
            del attributes[place.attribute]
        else:
            attributes[place.attribute] = old

    return undo
