"""Holding something else in an attribute, for a while or for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["replace", "replaced"]

_ABSENT = object()


@contextmanager
def replaced(replacements: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    """Hold other values meanwhile: each an owner, the name of its attribute, and the value."""
    undo = [replace(owner, attribute, value) for owner, attribute, value in replacements]
    try:
        yield
    finally:
        for step in reversed(undo):
            step()


def replace(owner: Any, attribute: str, value: Any) -> Callable[[], None]:
    """Put a value into an attribute; the function that is returned puts the old one back.

    Straight into the object's dictionary: the state that Keras, TensorFlow and PyTorch track stays
    what it was.
    """
    attributes = vars(owner)
    old = attributes.get(attribute, _ABSENT)
    attributes[attribute] = value

    def undo() -> None:
        if old is _ABSENT:
            del attributes[attribute]
        else:
            attributes[attribute] = old

    return undo
