"""The classes that a classifier predicts, if labels and outputs are those of a classifier."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.data.losses import resolved_loss
from keras_prelu.data.output_losses import CHOSEN_BY_LABELS

__all__ = ["predicted_classes"]


def predicted_classes(labels: np.ndarray, outputs: np.ndarray, loss: Any) -> np.ndarray | None:
    """Return the predicted class of each sample, or None if the model is no classifier.

    Args:
        labels: Array of labels: class numbers, or one-hot.
        outputs: Array of a model's outputs for these samples.
        loss: Keras loss or its name, or None. It says from which value on a single output means
            class 1.

    Raises:
        InvalidArgumentError: A ValueError; there is no such loss.
    """
    if outputs.ndim != 2:
        return None
    count = outputs.shape[1]
    integers = labels.dtype.kind in "iub" or (
        count > 1 and bool(np.all(np.isin(labels, np.arange(count))))
    )
    class_numbers = integers and labels.reshape(len(labels), -1).shape[1] == 1
    one_hot = (
        labels.shape == outputs.shape
        and count > 1
        and bool(np.all(np.isin(labels, (0, 1))))
        and bool(np.all(labels.sum(1) == 1))
    )
    if count > 1 and (class_numbers or one_hot):
        return outputs.argmax(-1)
    if count == 1 and class_numbers and bool(np.all(np.isin(labels, (0, 1)))):
        return (outputs[:, 0] > _threshold(_function(loss), outputs)).astype(labels.dtype)
    return None


def _function(loss: Any) -> Any:
    """Return the loss of the only output as a function, or None."""
    is_by_labels = isinstance(loss, str) and loss.lower() in CHOSEN_BY_LABELS
    return None if is_by_labels else resolved_loss(loss)


def _threshold(loss: Any, outputs: np.ndarray) -> float:
    """Return the output above which a single output means class 1.

    It is where the loss is the same for both classes: 0 for logits, 0.5 for probabilities. A loss
    that weights the classes is the same elsewhere; then the range of the outputs decides.
    """
    from_logits = getattr(loss, "from_logits", None)
    if from_logits is None:
        from_logits = next((value == 0.0 for value in (0.5, 0.0) if _is_fair(loss, value)), None)
    if from_logits is None:
        from_logits = not bool(np.all((outputs >= 0) & (outputs <= 1)))
    return 0.0 if from_logits else 0.5


def _is_fair(loss: Any, output: float) -> bool:
    """Return whether a loss has the same value for both classes at an output."""
    if loss is None:
        return False
    try:
        values = [
            float(
                keras.ops.convert_to_numpy(
                    loss(keras.ops.full((1, 1), label), keras.ops.full((1, 1), output))
                ).mean()
            )
            for label in (0.0, 1.0)
        ]
    except Exception:  # A loss of the user may need other labels.
        return False
    one, other = values
    return bool(np.isfinite(values).all() and np.isclose(one, other, rtol=1e-4, atol=1e-6))
