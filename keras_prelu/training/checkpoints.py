"""Checkpoints from which a training continues exactly where it stopped.

After `kill -9` the final weights are those of an uninterrupted training. Keras's own
`BackupAndRestore` writes weights and epoch as two files, between which a process can be killed, and
leaves out the state of random generators (dropout) and the best weights so far. Here the whole
state is in one file, which is replaced atomically.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np

from keras_prelu.backend.hosts import gather, host, wait_for_all
from keras_prelu.backend.keras_internals import begin_at_epoch
from keras_prelu.backend.variables import snapshot
from keras_prelu.errors import FileError, FineTuningError
from keras_prelu.io.atomic import atomic_write, atomic_write_text
from keras_prelu.training.guard import DivergenceGuard

__all__ = ["Checkpoint", "Checkpoints"]


class Checkpoint(keras.callbacks.Callback):
    """Callback that saves the whole state of a training each epoch and restores it at the start.

    It must come after the `EarlyStopping` whose best weights it stores. The state of a training
    that diverged is not stored: continued from the epoch before, it diverges again.

    Args:
        path: `pathlib.Path` of the file.
        guard: `DivergenceGuard` of the training.
        stopping: `keras.callbacks.EarlyStopping` of the training, or None. Defaults to None.

    Attributes:
        history: Dict of lists of floats. Metrics by epoch, also of the epochs before a restoration.
    """

    def __init__(self, path: Path, guard: DivergenceGuard, stopping: Any = None) -> None:
        super().__init__()
        self._path = path
        self._guard = guard
        self._stopping = stopping
        self.history: dict[str, list[float]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        exists = gather(np.array(self._path.exists()))
        if exists.any() != exists.all():
            raise FineTuningError(
                f"Some hosts see the checkpoint '{self._path}' and some do not. It must lie in a"
                " folder that all hosts share."
            )
        if exists.any():
            self._restore()

    def _restore(self) -> None:
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        state, meta = _read(self._path)
        try:
            self._assign(state, meta)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(self._path) from error

    def _assign(self, state: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Give the model and the callbacks a state that was read."""
        variables = _variables(self.model)
        if len(variables) != meta["variables"]:
            raise FineTuningError(
                f"The checkpoint '{self._path}' is of another model. Remove it to start anew."
            )
        for index, variable in enumerate(variables):
            variable.assign(_restored(state[f"v{index}"], variable))
        self.history = meta["history"]
        if self._stopping is not None and meta["best_epoch"] is not None:
            self._stopping.best_weights = [
                _restored(state[f"b{index}"], array)
                for index, array in enumerate(self.model.get_weights())
            ]
            self._stopping.best, self._stopping.best_epoch = meta["best"], meta["best_epoch"]
            self._stopping.wait = meta["epoch"] - 1 - meta["best_epoch"]
        has_stopped = self._stopping is not None and self._stopping.wait >= self._stopping.patience
        begin_at_epoch(self.model, self.params["epochs"] if has_stopped else meta["epoch"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if host() or self._guard.reason:
            return
        variables = _variables(self.model)
        state = {f"v{index}": _raw(snapshot(variable)) for index, variable in enumerate(variables)}
        has_best = self._stopping is not None and self._stopping.best_weights is not None
        if has_best:
            state |= {
                f"b{index}": _raw(array) for index, array in enumerate(self._stopping.best_weights)
            }
        meta = {
            "epoch": epoch + 1,
            "variables": len(variables),
            "history": self.history,
            "best": float(self._stopping.best) if has_best else None,
            "best_epoch": int(self._stopping.best_epoch) if has_best else None,
        }
        _write(self._path, state, meta)


class Checkpoints:
    """The checkpoints of one fine-tuning, in one folder.

    The folder has a file for each model that is trained, and one for the losses of short trainings.
    It is locked until it is closed, also as a context manager, or until the process ends.

    Args:
        folder: `pathlib.Path` of the folder, which is created if it is missing.
        key: Str. Fingerprint of the fine-tuning, see `fingerprint`.

    Raises:
        FineTuningError: The folder holds checkpoints of another fine-tuning, or another one that is
            running uses it.
        FileError: The folder can't be written, or a file in it is damaged.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._lock = filelock.FileLock(folder / ".lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The first host locks the folder for all hosts that train together.
            if not host():
                self._lock.acquire(timeout=0)
            self._check_key(key)
        except filelock.Timeout as error:
            raise FineTuningError(
                f"Another fine-tuning that is running uses the checkpoints in '{folder}'. Wait for"
                " it, or choose another folder."
            ) from error
        except OSError as error:
            raise FileError(
                f"Checkpoints can't be written to '{folder}': {os.strerror(error.errno or 0)}."
            ) from error

    def _check_key(self, key: str) -> None:
        try:
            stored_keys = self._read_list("key")
            wait_for_all("checkpoints are read")
            if stored_keys and stored_keys != [key]:
                raise FineTuningError(
                    f"'{self._folder}' holds checkpoints of another fine-tuning: other data,"
                    " models, options or versions. Remove it, or choose another folder."
                )
            if not stored_keys and not host():
                self._write_list("key", [key])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def file_of(self, name: str) -> Path:
        """Return the path of the checkpoint of a training."""
        return self._folder / f"{name}.npz"

    def losses(self) -> list[float]:
        """Return the losses of the short trainings that are done."""
        return [float(loss) for loss in self._read_list("losses")]

    def add_loss(self, loss: float) -> None:
        """Store the loss of one more short training."""
        if not host():
            self._write_list("losses", [*self.losses(), loss])

    def _read_list(self, name: str) -> list[Any]:
        path = self._folder / f"{name}.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        except ValueError as error:
            raise _damaged(path) from error
        if not isinstance(values, list):
            raise _damaged(path)
        return values

    def _write_list(self, name: str, values: list[Any]) -> None:
        atomic_write_text(self._folder / f"{name}.json", json.dumps(values), overwrite=True)


def _variables(model: Any) -> list[Any]:
    """Return all variables that training changes.

    They are the weights and the state of random generators and of the optimizer.
    """
    return [*model.variables, *model.optimizer.variables]


def _raw(array: np.ndarray) -> np.ndarray:
    """Return the bytes of an array, since `.npz` files can't store bfloat16."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _restored(raw: np.ndarray, like: Any) -> np.ndarray:
    dtype = np.dtype(keras.backend.standardize_dtype(like.dtype))
    return raw.view(dtype).reshape(tuple(like.shape))


def _write(path: Path, state: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with atomic_write(path, overwrite=True) as temporary, open(temporary, "wb") as file:
        # NumPy's stub takes the arrays for the flag `allow_pickle`.
        np.savez(file, meta=text, **state)  # type: ignore[arg-type]


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            state = {key: archive[key] for key in archive.files}
        return state, json.loads(state.pop("meta").tobytes())
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> FileError:
    return FileError(f"The checkpoint '{path}' can't be read. Remove it to start anew.")
