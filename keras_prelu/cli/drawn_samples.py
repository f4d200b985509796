"""The samples of a data set that a command works on, and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_prelu.cli.options.session import SessionOptions
from keras_prelu.cli.output import echo
from keras_prelu.io.model_names import ModelName

__all__ = ["class_numbers", "random_indices", "split_labelled"]

_HELD_OUT_SHARE = 0.2
_LEAST_HELD_OUT = 5


def random_indices(samples: Any, count: int, seed: int) -> Any:
    """Return the positions of at most `count` samples, drawn without replacement."""
    import numpy as np

    return np.random.default_rng(seed).permutation(len(samples))[:count]


def class_numbers(labels: Any, model: Any) -> Any:
    """Return the labels as the class numbers of a classifier, or None if they are none.

    Args:
        labels: Array of class numbers, also of 0 and 1 for a single output, or one-hot; or anything
            else.
        model: `keras.Model`.
    """
    import numpy as np

    outputs = getattr(model, "outputs", None) or []
    if labels is None or len(outputs) != 1 or len(outputs[0].shape) != 2:
        return None
    if isinstance(labels, (dict, list, tuple)):
        return None
    array, count = np.asarray(labels), outputs[0].shape[1]
    if count > 1 and array.shape[1:] == (count,):
        is_one_hot = np.all(np.isin(array, (0, 1))) and np.all(array.sum(1) == 1)
        return array.argmax(1) if is_one_hot else None
    is_class = array.dtype.kind in "iu" if count > 1 else np.all(np.isin(array, (0, 1)))
    return array.reshape(-1).astype("int64") if is_class and array.size == len(array) else None


def split_labelled(
    dataset: Any, model: Any, session: SessionOptions, models: Sequence[ModelName]
) -> tuple[Any, Any]:
    """Return training samples and validation samples.

    The validation samples are the data set's test samples; without any, a fifth of its samples is
    held out. They are samples that none of the models was trained on, by the records beside them.

    Raises:
        DataError: There are no labels, or too few samples that no model was trained on.
    """
    import numpy as np

    from keras_prelu.cli.sample_records import unseen_samples, used_samples
    from keras_prelu.data.column_check import check_labelled
    from keras_prelu.data.dataset import split
    from keras_prelu.errors import DataError

    check_labelled(dataset, dataset.train, model)
    given = dataset.train if dataset.test is None else dataset.test
    used, names = used_samples(given, models)
    if used.any() and used.sum() > len(given) - _LEAST_HELD_OUT:
        raise DataError(
            f"{int(used.sum()):,} of the {len(given):,} samples were used to train"
            f" {' and '.join(names)}, which leaves too few to judge by. Give other samples."
        )
    if dataset.test is not None:
        validation, note = unseen_samples(dataset.test, models)
        if note:
            echo(note, err=True)
        return dataset.train, validation
    if not used.any():
        return split(dataset.train, _HELD_OUT_SHARE, session.seed)
    unused = np.random.default_rng(session.seed).permutation(np.flatnonzero(~used))
    held_out = np.sort(unused[: round(len(given) * _HELD_OUT_SHARE)])
    return given.take(np.setdiff1d(np.arange(len(given)), held_out)), given.take(held_out)
