"""Surgery on random networks, many in one process, each operation compared with its promise."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click
import keras
import numpy as np

from keras_prelu.sites.prelu_layers import prelu_layers
from tools.common.processes import emit, quiet
from tools.fuzz.architectures import SAMPLES, Architecture, build
from tools.fuzz.custom_layers import WrittenAsCode
from tools.fuzz.limits import TooLong, limited

SECONDS_EACH = 240
OPERATIONS = (
    "convert",
    "save",
    "calibrate",
    "bake",
    "equalize",
    "revive",
)
OPERATIONS_OF_SOME = ("to relu", "to leaky_relu", "simplify", "profile", "in place")
"""Operations on every fifth network."""
_EACH = 5
_CALIBRATION = slice(0, 128)
_NEW = slice(128, SAMPLES)
# The largest of some hundred differences, relative to the spread of an output.
_ROUNDING = {"float32": 1e-4, "mixed_bfloat16": 0.05, "mixed_float16": 0.01}
_ROUNDING_OF_OTHERS = 0.05
_AMPLIFIED, _ROUNDED_INPUTS = 4.0, 3
"""How much more than by rounding its inputs alone, several times, may the outputs of a network change
by rounding in each layer."""
_STANDARD_ERRORS = 3.0
"""By how much a larger error on new samples exceeds chance: once in 740 networks where calibration
changes nothing."""
_NEGLIGIBLE = 1e-3
"""Share of the variance. Records below it are of too few samples to tell their size."""
_UNSEEN = 7.0
"""Number of samples over that of all: what none of so many calibration samples does, more new ones
than this share do with a probability of a thousandth."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation on one random network.

    Attributes:
        seed: Recreates the network.
        blocks: What the network consists of, as text.
        operation: One of `OPERATIONS` or `OPERATIONS_OF_SOME`.
        refusal: The message with which the operation was refused, or "".
        broken: Which promise was broken, or "".
        error_none: Error of slopes of 0.25 without calibration on new samples; of "calibrate" only.
        error: Error of the result on new samples; of "calibrate" only.
    """

    seed: int
    blocks: str
    operation: str
    refusal: str = ""
    broken: str = ""
    error_none: float | None = None
    error: float | None = None


def try_all(seed: int) -> Iterator[Operation]:
    """Apply the operations to the network of a seed."""
    architecture = build(seed)
    trial = _Trial(seed, architecture)
    for operation in OPERATIONS + (() if seed % _EACH else OPERATIONS_OF_SOME):
        yield trial.attempt(operation)


class _Trial:
    """The operations on one network, whose outputs and variables must not change.

    Args:
        seed: Integer. Seed of the network.
        architecture: `Architecture`.
    """

    def __init__(self, seed: int, architecture: Architecture) -> None:
        self._seed = seed
        self._model, self._inputs = architecture.model, architecture.inputs
        self._blocks = ", ".join(architecture.blocks)
        self._outputs = self._predict(self._model)
        self._variables = _variables(self._model)
        policies = {layer.dtype_policy.name for layer in self._model._flatten_layers()}
        usual = max(_ROUNDING.get(name, _ROUNDING_OF_OTHERS) for name in policies)
        self._rounding = max(usual, _AMPLIFIED * self._difference_by_rounded_inputs())
        # No file holds the dtype policy of a layer's inner layers, so that a loaded network may round
        # elsewhere. Two roundings differ by at most the sum of their differences from float32.
        in_float32 = build(seed, in_float32=True).model
        own = _difference(self._predict(in_float32), self._outputs)
        self._rounding_elsewhere = max(self._rounding, 2.0 * own)

    def _difference_by_rounded_inputs(self) -> float:
        """Return how much the outputs change if the inputs are rounded otherwise.

        A normalization of a vector near 0 multiplies what is rounded.
        """
        rng = np.random.default_rng(self._seed)

        def rounded(array: np.ndarray) -> np.ndarray:
            if array.dtype != np.float32:
                return array
            return np.nextafter(array, rng.choice([-np.inf, np.inf], array.shape), dtype="float32")

        return max(
            _difference(
                _predicted(self._model, keras.tree.map_structure(rounded, self._inputs)),
                self._outputs,
            )
            for _ in range(_ROUNDED_INPUTS)
        )

    def attempt(self, operation: str) -> Operation:
        """Apply an operation, and return what became of it."""
        import keras_prelu as kp

        functions: dict[str, Callable[[], dict[str, Any]]] = {
            name: getattr(self, f"_{name.replace(' ', '_')}")
            for name in OPERATIONS + OPERATIONS_OF_SOME
        }
        outcome: dict[str, Any]
        try:
            with limited(SECONDS_EACH):
                outcome = functions[operation]()
        except kp.KerasPReLUError as error:
            outcome = {"refusal": " ".join(str(error).split())[:300]}
        except TooLong:
            outcome = {"broken": f"it took longer than {SECONDS_EACH} s"}
        except Exception as error:
            outcome = {"broken": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        if not outcome.get("broken") and not _identical(self._variables, _variables(self._model)):
            outcome["broken"] = "the original's variables changed"
        return Operation(seed=self._seed, blocks=self._blocks, operation=operation, **outcome)

    def _predict(self, model: keras.Model, part: slice = slice(None)) -> list[np.ndarray]:
        return _predicted(model, keras.tree.map_structure(lambda array: array[part], self._inputs))

    def _same_function(
        self, model: keras.Model, expected: list[np.ndarray], rounding: float | None = None
    ) -> dict[str, Any]:
        """Return that the outputs differ by more than rounding, if they do."""
        difference = _difference(self._predict(model), expected)
        if difference <= (self._rounding if rounding is None else rounding):
            return {}
        return {"broken": f"the outputs differ by {difference:.2g} of their spread"}

    def _exact(self) -> keras.Model:
        import keras_prelu as kp

        return kp.convert(self._model, alpha=0.0, parameterization="identity", rescale="none")

    def _convert(self) -> dict[str, Any]:
        converted = self._exact()
        if converted.output_names != self._model.output_names:
            return {"broken": f"the outputs are named {converted.output_names}"}
        return self._same_function(converted, self._outputs)

    def _save(self) -> dict[str, Any]:
        import tempfile
        from pathlib import Path

        import keras_prelu as kp

        converted = self._exact()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            try:
                self._model.save(path)
            except Exception as error:
                return {"refusal": f"Keras can't save the original: {type(error).__name__}"}
            kp.save_model(converted, path, force=True)
            return self._same_function(kp.load_model(path), self._outputs, self._rounding_elsewhere)

    def _calibrate(self) -> dict[str, Any]:
        import keras_prelu as kp

        samples = self._samples()
        none = kp.convert(self._model, alpha=0.25, rescale="none")
        calibrated = kp.convert(self._model, alpha=0.25, calibration_data=samples)
        expected = [output[_NEW] for output in self._outputs]
        outputs_none, outputs = (self._predict(model, _NEW) for model in (none, calibrated))
        error_none, error = _error(outputs_none, expected), _error(outputs, expected)
        outcome: dict[str, Any] = {"error_none": error_none, "error": error}
        is_larger = not error <= 1.1 * error_none + self._rounding
        if is_larger and _worsens(outputs_none, outputs, expected):
            outcome["broken"] = f"the error is {error:.3g}, without calibration {error_none:.3g}"
        return outcome

    def _bake(self) -> dict[str, Any]:
        import keras_prelu as kp

        converted = kp.convert(self._model, alpha=0.25, rescale="none")
        return self._same_function(kp.bake(converted), self._predict(converted))

    def _equalize(self) -> dict[str, Any]:
        import keras_prelu as kp

        model = build(self._seed).model
        kp.equalize(model)
        return self._same_function(model, self._outputs)

    def _revive(self) -> dict[str, Any]:
        import keras_prelu as kp

        samples = self._samples()
        model = build(self._seed).model
        recorded = kp.revive(model, samples, threshold=0.0).loss
        expected = [output[_CALIBRATION] for output in self._outputs]
        error = _error(self._predict(model, _CALIBRATION), expected)
        if error <= 2.0 * recorded + self._rounding:
            return {}
        if np.isnan(recorded) and not all(np.isfinite(output).all() for output in expected):
            return {}
        return {"broken": f"the error is {error:.2g}, and {recorded:.2g} was recorded"}

    def _to_relu(self) -> dict[str, Any]:
        import keras_prelu as kp

        return self._same_function(kp.convert(self._exact(), to="relu"), self._outputs)

    def _to_leaky_relu(self) -> dict[str, Any]:
        import keras_prelu as kp

        converted = kp.convert(self._model, alpha=0.25, rescale="none")
        return self._same_function(kp.convert(converted, to="leaky_relu"), self._predict(converted))

    def _simplify(self) -> dict[str, Any]:
        import keras_prelu as kp

        converted = kp.convert(self._model, rescale="none", alpha=0.1, parameterization="identity")
        _scatter_slopes(converted, self._seed)
        simplified = kp.simplify(converted, self._samples())
        return self._as_recorded(simplified.model, self._predict(converted), simplified.error)

    def _profile(self) -> dict[str, Any]:
        import keras_prelu as kp

        conversion = kp.run_conversion(
            self._model, profile="deployment", calibration_data=self._samples()
        )
        return self._as_recorded(conversion.model, self._outputs, conversion.error or 0.0)

    def _in_place(self) -> dict[str, Any]:
        import keras_prelu as kp

        model = WrittenAsCode(build(self._seed).model)
        expected = self._predict(model)
        kp.convert(model, in_place=True)
        return self._same_function(model, expected)

    def _samples(self) -> Any:
        return keras.tree.map_structure(lambda array: array[_CALIBRATION], self._inputs)

    def _as_recorded(
        self, model: keras.Model, expected: list[np.ndarray], recorded: float
    ) -> dict[str, Any]:
        """Return that the error on new samples is not of the size that was recorded.

        The record is from a few samples. What is so rare that none of them did it, such as reaching
        a cap that was removed, or coming near a pole, some new ones may do: those with the largest
        errors are left out.
        """
        exceptions = math.ceil(_UNSEEN / _CALIBRATION.stop * (SAMPLES - _NEW.start))
        expected = [output[_NEW] for output in expected]
        outputs = self._predict(model, _NEW)
        kept = _without_worst(outputs, expected, exceptions)
        error = _error([output[kept] for output in outputs], [output[kept] for output in expected])
        if error <= 5.0 * recorded + max(_NEGLIGIBLE, self._rounding):
            return {}
        return {"broken": f"the error is {error:.2g}, and {recorded:.2g} was recorded"}


def _predicted(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    return [
        np.asarray(output, dtype="float64")
        for output in keras.tree.flatten(model.predict(inputs, batch_size=64, verbose=0))
    ]


def _scatter_slopes(model: keras.Model, seed: int) -> None:
    """Give each slope of a converted model a value of its own."""
    rng = np.random.default_rng(seed)
    for _, layer in prelu_layers(model):
        shape = tuple(layer.beta.shape)
        layer.beta.assign(rng.uniform(0.0, 0.4, shape).astype("float32"))


def _variables(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in model.variables]


def _identical(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(
        a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True)
    )


def _difference(outputs: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the largest difference relative to the spread of an output; infinity where NaN or a
    shape changed."""
    worst = 0.0
    for actual, wanted in zip(outputs, expected, strict=True):
        if actual.shape != wanted.shape or (np.isnan(actual) != np.isnan(wanted)).any():
            return float("inf")
        spread = float(np.nanstd(wanted)) + 1e-3
        worst = max(worst, float(np.nanmax(np.abs(actual - wanted), initial=0.0)) / spread)
    return worst


def _without_worst(outputs: list[np.ndarray], expected: list[np.ndarray], count: int) -> np.ndarray:
    """Return the indices of the samples without those of the largest errors."""
    errors = sum(
        np.nanmean((one - other) ** 2, axis=tuple(range(1, one.ndim))) / (np.nanvar(other) + 1e-6)
        for one, other in zip(outputs, expected, strict=True)
    )
    return np.sort(np.argsort(errors)[: len(errors) - count])


def _worsens(before: list[np.ndarray], after: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    """Return whether the error of some output grew by more than the scatter of its samples explains.

    One sample of 512 may hold most of an error.
    """
    for old, new, wanted in zip(before, after, expected, strict=True):
        if not np.isfinite(new[np.isfinite(wanted)]).all():
            return True
        squares = [np.square(each - wanted).reshape(len(wanted), -1) for each in (old, new)]
        growth = squares[1].mean(axis=1) - squares[0].mean(axis=1)
        growth = growth[np.isfinite(growth)]
        if growth.mean() > _STANDARD_ERRORS * growth.std() / math.sqrt(len(growth)):
            return True
    return False


def _error(outputs: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the largest squared change of an output, relative to its variance.

    Numbers that are not finite in the original, which overflow in float16, can't be compared.
    """
    errors = [0.0]
    for actual, wanted in zip(outputs, expected, strict=True):
        finite = np.isfinite(wanted)
        if not np.isfinite(actual[finite]).all():
            return float("inf")
        if finite.any():
            square = np.mean((actual[finite] - wanted[finite]) ** 2)
            errors.append(float(square / (np.var(wanted[finite]) + 1e-6)))
    return max(errors)


@click.command()
@click.argument("first", type=int)
@click.argument("count", type=int)
def main(first: int, count: int) -> None:
    """Print a JSON line before each of COUNT seeds from FIRST on, and one for each operation: a
    crash ends the process, and the last line tells where."""
    quiet()
    for seed in range(first, first + count):
        print(json.dumps({"starting": seed}), flush=True)
        for operation in try_all(seed):
            emit(operation)


if __name__ == "__main__":
    main()
