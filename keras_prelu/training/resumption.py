"""A training that continues exactly where it stopped, also in the middle of an epoch.

After `kill -9` the final weights are those of an uninterrupted training. Keras's own
`BackupAndRestore` writes weights and position as two files, between which a process can be killed,
begins the epoch anew, and leaves out random generators, metrics and callbacks. Here the whole state
is in one file, which is replaced atomically.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.hosts import gather, host
from keras_prelu.backend.keras_internals import begin_at_epoch, pass_over_steps
from keras_prelu.backend.random_states import random_states, set_random_states
from keras_prelu.backend.variables import snapshot
from keras_prelu.data.streams import batch_count
from keras_prelu.errors import FineTuningError
from keras_prelu.training.callback_states import CallbackStates
from keras_prelu.training.checkpoint_file import StateFile
from keras_prelu.training.config import FitConfig
from keras_prelu.training.data_order import ShuffledBatches
from keras_prelu.training.guard import DivergenceGuard
from keras_prelu.training.stream_batches import StreamBatches

__all__ = ["Checkpoint", "ResumableCallbacks"]


class Checkpoint(keras.callbacks.Callback):
    """Callback that saves the whole state of a training and restores it at the start.

    It saves each epoch; within epochs, `ResumableCallbacks` calls it. It must be the last callback:
    it stores the state that the others have, and restores it after their `on_train_begin`. The
    state of a training that diverged is not stored: continued from the state before, it diverges
    again.

    Args:
        file: `StateFile`.
        guard: `DivergenceGuard` of the training.
        callbacks: Sequence of Keras callbacks whose state is stored. Defaults to none.

    Attributes:
        history: Dict of lists of floats. Metrics by epoch, also of the epochs before a restoration.
        save_freq: Int or None. Steps from one state that is stored to the next.
    """

    def __init__(
        self,
        file: StateFile,
        guard: DivergenceGuard,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        super().__init__()
        self.save_freq = file.save_freq
        self._file = file
        self._guard = guard
        self._callbacks = callbacks
        self._restored: dict[str, Any] = {"epoch": 0, "step": 0}
        self.history: dict[str, list[float]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        self._states = CallbackStates(self._callbacks)
        path = self._file.path
        exists = gather(np.array(path.exists()))
        if exists.any() != exists.all():
            raise FineTuningError(
                f"Some hosts see the checkpoint '{path}' and some do not. It must lie in a folder"
                " that all hosts share."
            )
        if exists.any():
            self._restore()

    def _restore(self) -> None:
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        state = self._file.read()
        try:
            _assign(_variables(self.model), state["variables"])
            self._states.restore(state["callbacks"])
            self.history = state["history"]
            epoch = self.params["epochs"] if state["stopped"] else state["epoch"]
            begin_at_epoch(self.model, epoch)
            self._restored = {name: state[name] for name in ("epoch", "step", "metrics", "random")}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._file.damaged() from error

    def steps_done(self, epoch: int) -> int:
        """Return how many steps of an epoch an interrupted training has behind it."""
        return int(self._restored["step"]) if epoch == self._restored["epoch"] else 0

    def random_states(self) -> dict[str, Any]:
        """Return the states of random generators that were stored within an epoch."""
        states: dict[str, Any] = self._restored["random"]
        return states

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.steps_done(epoch):
            _assign(self.model.metrics_variables, self._restored["metrics"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self.save(epoch + 1)

    def save(self, epoch: int, step: int = 0, random: Any = None) -> None:
        """Store the state of the training.

        Args:
            epoch: Int. Number of epochs that are done.
            step: Int. Number of steps of the next epoch that are done. Defaults to 0.
            random: Dict. States of random generators; they count within an epoch alone. Defaults to
                None.
        """
        if host() or self._guard.reason:
            return
        model = self.model  # On JAX this writes the state of the training back to the model.
        self._file.write(
            {
                "epoch": epoch,
                "step": step,
                "stopped": bool(model.stop_training),
                "variables": [snapshot(variable) for variable in _variables(model)],
                "metrics": [snapshot(variable) for variable in model.metrics_variables],
                "random": random,
                "callbacks": self._states.changed(),
                "history": self.history,
            }
        )


class ResumableCallbacks(keras.callbacks.CallbackList):
    """The callbacks of a training whose state is stored within epochs too.

    The epoch that an interrupted training was in begins with the steps that are done: their batches
    are read (few rows of them where the data set can tell), nothing is trained, and no callback
    hears of them.

    Args:
        callbacks: List of Keras callbacks.
        checkpoint: `Checkpoint` that follows them.
        data: The training data.
        model: Keras model.
        fit: `FitConfig`. Settings of the training.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        checkpoint: Checkpoint,
        data: Any,
        model: keras.Model,
        fit: FitConfig,
    ) -> None:
        self._checkpoint, self._data = checkpoint, data
        self._epoch = self._done = self._stored = 0
        self._random: dict[str, Any] | None = None
        waits = checkpoint.save_freq is not None and _has_async_states(callbacks)
        # As `fit` does with a list.
        super().__init__(
            [*callbacks, *([_CalledInStep()] if waits else []), checkpoint],
            add_history=True,
            add_progbar=fit.verbose != 0,
            model=model,
            verbose=fit.verbose,
            epochs=fit.epochs,
            steps=_finite(batch_count(data)),
        )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch, self._random = epoch, None
        self._done = self._stored = self._checkpoint.steps_done(epoch)
        if self._done:
            if isinstance(self._data, (ShuffledBatches, StreamBatches)):
                self._data.pass_over(self._done)
            self._train = pass_over_steps(self.model)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch < self._done:
            return
        if self._random is not None:
            self._checkpoint.save(self._epoch, batch, self._random)
            self._stored, self._random = batch, None
        super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done = batch + 1
        if done <= self._done:
            if done == self._done:
                self._train()
                set_random_states(self._checkpoint.random_states())
            return
        super().on_train_batch_end(batch, logs)
        frequency = self._checkpoint.save_freq
        if frequency is not None and done // frequency > self._stored // frequency:
            # The next batch is read before its step begins, and its augmentation may draw.
            self._random = random_states()


class _CalledInStep(keras.callbacks.Callback):
    """Callback that makes Keras call all callbacks before the next step begins."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


def _has_async_states(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Return whether callbacks of the user are called beside the steps that they are called for."""
    return any(
        getattr(callback, "async_safe", False) and not isinstance(callback, DivergenceGuard)
        for callback in callbacks
    )


def _finite(count: float | None) -> int | None:
    return None if count is None or count == float("inf") else int(count)


def _variables(model: Any) -> list[Any]:
    """Return all variables that training changes.

    They are the weights and the state of random generators and of the optimizer.
    """
    return [*model.variables, *model.optimizer.variables]


def _assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Assign arrays to variables.

    Raises:
        ValueError: Their number or their shapes are others.
    """
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
