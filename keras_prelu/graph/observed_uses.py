"""Uses of a rectifier in code that accepts only real tensors, found by an experiment.

The layer is run on random inputs, with random numbers in place of the rectifier's output. Layers
that are called with these numbers use the rectifier. To know whether anything else does, the layer
is run again with other numbers, while those layers return what they returned before: if nothing
else uses the rectifier, the layer's outputs stay the same bit for bit. A third run, in which they
compute as usual, has to change the outputs, or the experiment shows nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.graph.functional import Call, losses_of_calls
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_calls

__all__ = ["Use", "observed_uses"]

_Key = tuple[Any, ...]
_BATCH_SIZE = 2
_OPEN_SIZE = 16
_LEAST, _MOST = 0.1, 0.9
_FIRST, _OTHERS, _NEGATIVE = 0, 1, 2
"""Seeds of the numbers in place of a rectifier's output. Those of the last are negative."""


@dataclass(frozen=True)
class Use:
    """A call of a layer that reads the output of a rectifier.

    Attributes:
        call: `Call`. The call, with symbolic tensors of the shapes that were seen.
        positions: Tuple of integers. Which of the call's tensors are outputs of the rectifier.
    """

    call: Call
    positions: tuple[int, ...]


def observed_uses(
    layer: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    target: HookTarget,
    is_known: Callable[[Any], bool],
    carries_on: Callable[[Use], bool],
) -> list[Use] | None:
    """Return the uses of a rectifier inside a layer, or None if they are not all known.

    Args:
        layer: Layer with code that can't be run on symbolic tensors. It is left unchanged.
        args: Sequence. Positional arguments, with symbolic tensors.
        kwargs: Mapping. Keyword arguments, with symbolic tensors.
        target: `HookTarget`. The attribute that applies the rectifier.
        is_known: Callable. Takes a layer and returns whether it is known what it computes.
        carries_on: Callable. Takes a use and returns whether its output inherits the range of the
            rectifier, as that of a padding does. What reads this output is another use.
    """
    arguments = keras.tree.map_structure(_random_like, (tuple(args), dict(kwargs)))
    known = [inner for inner in sublayers(layer) if is_known(inner)]
    experiment = _Experiment(layer, arguments, target, known, carries_on)
    try:
        return experiment.uses()
    except Exception:  # Whatever the user's code raises for made-up inputs.
        return None


class _Experiment:
    def __init__(
        self,
        layer: Any,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        target: HookTarget,
        known: Sequence[Any],
        carries_on: Callable[[Use], bool],
    ) -> None:
        self._layer = layer
        self._arguments = arguments
        self._target = target
        self._known = [HookTarget(inner) for inner in known]
        self._carries_on = carries_on
        self._weights = [(weight, _nonzero(weight)) for weight in layer.weights if _is_zero(weight)]
        # What inherits the rectifier's range; what the uses returned, by the number of the call.
        self._numbers: list[np.ndarray] = []
        self._returned: dict[tuple[_Key, int], Any] = {}

    def uses(self) -> list[Use] | None:
        """Return the uses, or None if there are others."""
        uses: list[Use] = []

        def observe(call: HookedCall, count: int) -> None:
            use = self._use(call)
            if use is None:
                return
            uses.append(use)
            if self._carries_on(use):
                self._numbers += [_numpy(leaf) for leaf in _tensors(call.outputs)]
            else:
                self._returned[call.target.key, count] = call.outputs

        def keep(call: HookedCall, count: int) -> Any:
            return self._returned.get((call.target.key, count))

        def compute(call: HookedCall, count: int) -> Any:
            return None

        observed = self._run(_FIRST, observe)
        if not self._numbers:  # It is not applied.
            return uses
        is_complete = all(
            _all_same(observed, self._run(seed, keep)) for seed in (_OTHERS, _NEGATIVE)
        )
        is_conclusive = not _all_same(observed, self._run(_OTHERS, compute))
        return uses if is_complete and is_conclusive else None

    def _run(self, seed: int, hook: Callable[[HookedCall, int], Any]) -> list[np.ndarray]:
        """Return the layer's outputs, with random numbers in place of the rectifier's."""
        counts: Counter[_Key] = Counter()

        def hear(call: HookedCall) -> Any:
            key = call.target.key
            counts[key] += 1
            replaced = hook(call, counts[key]) if call.target.attribute == "call" else None
            if key != self._target.key:
                return replaced
            rng = np.random.default_rng([seed, counts[key]])
            drawn = rng.uniform(_LEAST, _MOST, tuple(call.outputs.shape))
            if seed == _NEGATIVE:
                drawn = -drawn
            numbers = keras.ops.convert_to_tensor(drawn, dtype=call.outputs.dtype)
            if seed == _FIRST:
                self._numbers.append(_numpy(numbers))
            return numbers

        args, kwargs = self._arguments
        scope = keras.StatelessScope(state_mapping=self._weights)
        with (
            scope,
            hook_calls([*self._known, self._target], hear),
            losses_of_calls([self._layer, *sublayers(self._layer)]) as added,
        ):
            outputs = self._layer(*args, **kwargs)
            losses = [each.loss for each in added]
        return [_numpy(leaf) for leaf in _tensors((outputs, losses))]

    def _use(self, call: HookedCall) -> Use | None:
        """Return the use that a call makes of the rectifier, or None.

        A layer that passes the numbers on, as Dropout does, is left out: what uses its output is a
        use.
        """
        arrays = [_numpy(tensor) for tensor in _tensors((call.args, call.kwargs))]
        positions = tuple(i for i, array in enumerate(arrays) if self._is_output(array))
        passes_on = any(self._is_output(_numpy(leaf)) for leaf in _tensors(call.outputs))
        if not positions or passes_on:
            return None
        return Use(call=_symbolic_call(call.target.owner, call), positions=positions)

    def _is_output(self, array: np.ndarray) -> bool:
        return any(
            array.shape == numbers.shape and np.array_equal(array, numbers)
            for numbers in self._numbers
        )


def _is_zero(weight: keras.Variable) -> bool:
    """Return whether a weight is 0, as at the end of a branch that is not trained yet."""
    return keras.backend.is_float_dtype(weight.dtype) and not np.any(_numpy(weight))


def _nonzero(weight: keras.Variable) -> Any:
    numbers = np.random.default_rng(0).normal(0.0, _LEAST, tuple(weight.shape))
    return keras.ops.convert_to_tensor(numbers, dtype=weight.dtype)


def _all_same(ones: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    return len(ones) == len(others) and all(
        np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        for one, other in zip(ones, others, strict=True)
    )


def _symbolic_call(layer: Any, call: HookedCall) -> Call:
    args, kwargs = keras.tree.map_structure(_symbolic_like, (call.args, call.kwargs))
    leaves = keras.tree.flatten((args, kwargs))
    return Call(
        operation=layer,
        index=0,
        args=args,
        kwargs=kwargs,
        inputs=tuple(leaf for leaf in leaves if keras.utils.is_keras_tensor(leaf)),
        outputs=tuple(_symbolic_like(leaf) for leaf in _tensors(call.outputs)),
    )


def _symbolic_like(leaf: Any) -> Any:
    if not keras.ops.is_tensor(leaf):
        return leaf
    dtype = keras.backend.standardize_dtype(leaf.dtype)
    return keras.Input(batch_shape=(None, *leaf.shape[1:]), dtype=dtype)


def _tensors(structure: Any) -> list[Any]:
    return [leaf for leaf in keras.tree.flatten(structure) if keras.ops.is_tensor(leaf)]


def _numpy(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _random_like(leaf: Any) -> Any:
    """Return a tensor of random numbers for a symbolic one; zeros for integers."""
    if not keras.utils.is_keras_tensor(leaf):
        return leaf
    shape = [size or (_OPEN_SIZE if axis else _BATCH_SIZE) for axis, size in enumerate(leaf.shape)]
    if leaf.dtype == "bool":
        return keras.ops.ones(shape, dtype="bool")
    if not keras.backend.is_float_dtype(leaf.dtype):
        return keras.ops.zeros(shape, dtype=leaf.dtype)
    numbers = np.random.default_rng(0).normal(size=shape)
    return keras.ops.convert_to_tensor(numbers, dtype=leaf.dtype)
