"""Former name of `graph.hooks.attributes_set`, which calibration/ still uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from keras_prelu.graph.hooks import set_attribute

__all__ = ["replaced"]


@contextmanager
def replaced(replacements: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    with ExitStack() as undo:
        for owner, attribute, value in replacements:
            undo.callback(set_attribute(owner, attribute, value))
        yield
