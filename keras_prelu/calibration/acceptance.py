"""Whether a refit is kept: only where held-out samples show that it helps, beyond chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["is_improvement"]

_LARGE_GAIN = 0.5


def is_improvement(
    before: Sequence[np.ndarray], after: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> bool:
    """Return whether outputs moved towards their targets by more than chance explains.

    With few samples, or where a few of them dominate, a lower mean error says little about new
    samples. The error must have fallen by more than one standard error of its fall, or to less than
    half: in a handful of samples, the scatter hides also large gains.

    Args:
        before: Sequence of arrays of shape (samples, ...). The old outputs.
        after: Sequence of arrays of the same shapes. The new outputs.
        targets: Sequence of arrays of the same shapes. What the outputs should be.

    Returns:
        Boolean. True also where nothing has changed, and where the new outputs are finite and the
        old ones are not.
    """
    old, new = _errors(before, targets), _errors(after, targets)
    if not np.isfinite(new).all():
        return False
    if not np.isfinite(old).all():
        return True
    gains = old - new
    if not gains.any() or new.mean() < _LARGE_GAIN * old.mean():
        return True
    if len(gains) == 1:
        return False
    return bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def _errors(outputs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> np.ndarray:
    """Return each sample's squared error relative to the variance of each output, averaged over
    outputs; those of `theory.relative_error` are their means."""
    errors = []
    for output, target in zip(outputs, targets, strict=True):
        variance = float(np.var(target, dtype=np.float64))
        squares = np.square(output.astype(np.float64) - target)
        rows = squares.reshape(len(squares), -1).mean(axis=1)
        errors.append(rows / (variance if variance > 0 else 1.0))
    return np.asarray(np.mean(errors, axis=0))
