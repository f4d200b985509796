"""Checkpoints of a training that goes on exactly where it was: after `kill -9` the final weights
are those of an uninterrupted run.

Keras's own `BackupAndRestore` writes weights and epoch as two files, between which a process can be
killed, and leaves out the state of random generators (dropout) and the best weights so far. Here
all of it is in one file, which replaces the one before in one step.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import gather, host, wait_for_all
from keras_prelu.backend.keras_internals import begin_at_epoch
from keras_prelu.backend.variables import snapshot
from keras_prelu.data.lazy import as_lazy, is_lazy
from keras_prelu.errors import FileError, FineTuningError
from keras_prelu.io.atomic import atomic_write

__all__ = ["Checkpoint", "Checkpoints", "fingerprint"]

_ROWS_ON_DISK = 64


class Checkpoint(keras.callbacks.Callback):
    """Saves the whole state of a training after each epoch, and restores it when a training begins.

    It must come after the `EarlyStopping` whose best weights it keeps.

    Args:
        path: The file. Its folder is made.
        stopping: The `keras.callbacks.EarlyStopping` of the training, or None.

    Attributes:
        history: What the epochs before the restored one recorded.
    """

    def __init__(self, path: Path, stopping: Any = None) -> None:
        super().__init__()
        self._path = path
        self._stopping = stopping
        self.history: dict[str, list[float]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        found = gather(np.array(self._path.exists()))
        if found.any() != found.all():
            raise FineTuningError(
                f"Some hosts see the checkpoint '{self._path}' and some do not. It must lie in a"
                " folder that all share."
            )
        if not found.any():
            return
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        state, meta = _read(self._path)
        variables = _variables(self.model)
        if len(variables) != meta["variables"]:
            raise FineTuningError(
                f"The checkpoint '{self._path}' is of another model. Remove it to begin anew."
            )
        for number, variable in enumerate(variables):
            variable.assign(_restored(state[f"v{number}"], variable))
        self.history = meta["history"]
        if self._stopping is not None and meta["best_epoch"] is not None:
            weights = self.model.get_weights()
            self._stopping.best_weights = [
                _restored(state[f"b{number}"], array) for number, array in enumerate(weights)
            ]
            self._stopping.best, self._stopping.best_epoch = meta["best"], meta["best_epoch"]
        begin_at_epoch(self.model, meta["epoch"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if host():
            return
        state = {
            f"v{number}": _raw(snapshot(variable))
            for number, variable in enumerate(_variables(self.model))
        }
        best = self._stopping is not None and self._stopping.best_weights is not None
        if best:
            state |= {
                f"b{number}": _raw(array)
                for number, array in enumerate(self._stopping.best_weights)
            }
        meta = {
            "epoch": epoch + 1,
            "variables": len(_variables(self.model)),
            "history": self.history,
            "best": float(self._stopping.best) if best else None,
            "best_epoch": int(self._stopping.best_epoch) if best else None,
        }
        _write(self._path, state, meta)


class Checkpoints:
    """The checkpoints of one fine-tuning: a folder with a file for each run, and the losses of
    short trainings.

    Args:
        folder: It is made.
        key: What the fine-tuning depends on, see `fingerprint`. A folder of another one is refused.

    Raises:
        FineTuningError: The folder holds checkpoints of another fine-tuning.
        FileError: The folder can't be written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = self._lines("key")
            wait_for_all("checkpoints are read")
            if known and known != [key]:
                raise FineTuningError(
                    f"'{folder}' holds checkpoints of another fine-tuning: other data, models or"
                    " options. Remove it, or choose another one."
                )
            if not known and not host():
                _replace(folder / "key.json", json.dumps([key]).encode())
        except OSError as error:
            raise FileError(
                f"Checkpoints can't be written to '{folder}': {os.strerror(error.errno or 0)}."
            ) from error

    def run(self, name: str) -> Path:
        """Where the checkpoint of a run lies."""
        return self._folder / f"{name}.npz"

    def losses(self) -> list[float]:
        """The losses of the short trainings that are done."""
        return [float(loss) for loss in self._lines("losses")]

    def add_loss(self, loss: float) -> None:
        """Note the loss of one more short training."""
        if host():
            return
        _replace(self._folder / "losses.json", json.dumps([*self.losses(), loss]).encode())

    def _lines(self, name: str) -> list[Any]:
        path = self._folder / f"{name}.json"
        found: list[Any] = json.loads(path.read_text()) if path.exists() else []
        return found


def fingerprint(models: Sequence[Any], arrays: Sequence[Any], settings: Sequence[Any]) -> str:
    """A digest of what a fine-tuning depends on: the models' structure and weights, the samples,
    and the settings. Of samples on disk some rows stand for all."""
    digest = hashlib.sha256(repr(list(settings)).encode())
    for model in models:
        digest.update(
            repr(
                [
                    (variable.path.rsplit("/", 1)[-1], tuple(variable.shape))
                    for variable in model.weights
                ]
            ).encode()
        )
        for variable in model.weights:
            digest.update(_raw(snapshot(variable)).data)
    for array in keras.tree.flatten(list(arrays)):
        values = np.asarray(
            array
            if not is_lazy(array)
            else as_lazy(array)[np.linspace(0, len(array) - 1, _ROWS_ON_DISK, dtype=int)]
        )
        digest.update(repr((np.shape(array), values.dtype.str)).encode())
        digest.update(
            _raw(values).data if values.dtype != object else repr(values.tolist()).encode()
        )
    return digest.hexdigest()


def _variables(model: Any) -> list[Any]:
    """All that changes while a model is trained: weights, the state of random generators, and that
    of the optimizer."""
    return [*model.variables, *model.optimizer.variables]


def _raw(array: np.ndarray) -> np.ndarray:
    """An array's bytes: `.npz` files have no bfloat16."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _restored(raw: np.ndarray, like: Any) -> np.ndarray:
    dtype = np.dtype(keras.backend.standardize_dtype(like.dtype))
    return raw.view(dtype).reshape(tuple(like.shape))


def _write(path: Path, state: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with atomic_write(path, overwrite=True) as temporary, open(temporary, "wb") as file:
        np.savez(file, meta=text, **state)  # type: ignore[arg-type]  # its stub takes a flag for an array


def _replace(path: Path, content: bytes) -> None:
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_bytes(content)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            state = {key: archive[key] for key in archive.files}
        return state, json.loads(state.pop("meta").tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FileError(
            f"The checkpoint '{path}' can't be read. Remove it to begin anew."
        ) from error
