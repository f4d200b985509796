"""Which rectifiers inside a layer are really applied when it is called, and to tensors of which
shapes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.custom_layers.held_rectifiers import Place
from keras_prelu.graph.functional import Call
from keras_prelu.graph.hooks import HookedCall, hook_calls

__all__ = ["Observation", "observe"]

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Observation:
    """One application of a rectifier inside a layer.

    Attributes:
        place: Where it is held.
        shape: Shape of the tensor it is applied to, the batch and whatever varies as None.
        dtype: Its dtype.
        arguments: Whether it was called with more than the tensor.
    """

    place: Place
    shape: Shape
    dtype: str
    arguments: bool

    @classmethod
    def of(cls, place: Place, call: Call) -> Observation:
        """What a call in a graph tells of the rectifier that its operation applies."""
        tensor = call.outputs[0]
        more = place.attribute == "call" and len(call.args) + len(call.kwargs) > 1
        return cls(
            place, (None, *tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype), more
        )


def observe(
    layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], places: Sequence[Place]
) -> list[Observation]:
    """Call a layer on symbolic tensors and note what reaches its rectifiers, in the order of
    execution, for inference and training.

    Args:
        layer: A built layer. It is left as it was.
        args, kwargs: What it is called with, symbolic tensors among them.
        places: The rectifiers inside it.

    Raises:
        Exception: Whatever the layer's own code raises.
    """
    observed: list[Observation] = []
    for training in _modes(layer):
        for item in _observe(layer, args, {**kwargs, **training}, places):
            if item not in observed:
                observed.append(item)
    return observed


def _modes(layer: Any) -> list[dict[str, bool]]:
    takes_training = "training" in inspect.signature(layer.call).parameters
    return [{"training": False}, {"training": True}] if takes_training else [{}]


def _observe(
    layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], places: Sequence[Place]
) -> list[Observation]:
    runs: list[list[Observation]] = []

    by_target = {place.target.key: place for place in places}

    def note(call: HookedCall) -> None:
        runs[-1].append(
            Observation(
                place=by_target[call.target.key],
                shape=tuple(call.inputs.shape),
                dtype=keras.backend.standardize_dtype(call.inputs.dtype),
                arguments=len(call.args) + len(call.kwargs) > 1,
            )
        )

    class Probe(keras.Operation):
        """Keras may run it several times, with other sizes where those are open."""

        def call(self, *args: Any, **kwargs: Any) -> Any:
            runs.append([])
            return layer(*args, **kwargs)

    with hook_calls([place.target for place in places], note), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Probe().compute_output_spec(*args, **kwargs)
    return _merged(runs)


def _merged(runs: list[list[Observation]]) -> list[Observation]:
    """One list of observations from several runs; sizes that differ between them are open."""
    *_, last = [run for run in runs if run] or [[]]
    others = [
        run
        for run in runs
        if [item.place.address for item in run] == [item.place.address for item in last]
    ]
    return [
        Observation(
            last[i].place,
            _open_shape([run[i].shape for run in others]),
            last[i].dtype,
            last[i].arguments,
        )
        for i in range(len(last))
    ]


def _open_shape(shapes: list[Shape]) -> Shape:
    if len({len(shape) for shape in shapes}) > 1:
        return shapes[-1]
    merged = tuple(
        sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)
    )
    return (None, *merged[1:])
